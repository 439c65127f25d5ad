"""This node's sessions: begun, attached to and shared, each under the capabilities of who asks."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.accounts import DEFAULT_USER, Account, accepted_environment, find_account
from irosh.node.actions import MAY_SHARE, AsUser, Join, Use
from irosh.node.control import Channel
from irosh.node.node import Node
from irosh.node.services import IncomingStream
from irosh.services.shell.adoption import Adoptables
from irosh.services.shell.persistent.attending import attend, check_room
from irosh.services.shell.persistent.codec import Frame, FrameKind, Manage, Size, decode, encode
from irosh.services.shell.persistent.lines import ChannelLine, StreamLine, answer_of
from irosh.services.shell.persistent.managing import Manager
from irosh.services.shell.persistent.messages import ManageRequest, SessionRequest, ShareRequest, checked_name
from irosh.services.shell.persistent.pace import Pace
from irosh.services.shell.persistent.participant import Participant
from irosh.services.shell.persistent.recording import Recording
from irosh.services.shell.persistent.registry import SessionRegistry
from irosh.services.shell.persistent.session import PersistentSession
from irosh.services.shell.persistent.sharing import Sharing
from irosh.services.shell.persistent.terms import SessionTerms, within_limits
from irosh.services.shell.processes import Terminal, start_process
from irosh.transport.tasks import to_the_end

_DEFAULT_SIZE = (80, 24, 0, 0)
_DEFAULT_TERMINAL = "xterm-256color"
Served = Callable[[], Awaitable[None]]
"""Serves a stream once it has been accepted."""
COMMAND_DEADLINE = 60.0  # seconds for the next command on a stream for them


class SessionHost:
    """Serves streams and control operations about the sessions on this machine."""

    def __init__(self, node: Node, adoptables: Adoptables, pace: Pace) -> None:
        self._node = node
        self._adoptables = adoptables
        self._sharing = Sharing(node)
        self._registry = SessionRegistry(pace, self._over)

    async def aclose(self) -> None:
        """End all."""
        await self._registry.aclose()

    # -- peers

    async def attach(self, incoming: IncomingStream, request: SessionRequest) -> Served:
        """Purpose ``attach``: to the peer's own session."""
        peer_id = incoming.connection.peer_id
        name = checked_name(request.name or "")
        manager = self._manager(incoming)
        line = StreamLine(incoming.stream)
        session = self._registry.find(peer_id, name)
        created = session is None
        if session is not None:
            self._check_user(incoming, session, request)
            check_room(session)
        elif (end := self._registry.take_outcome(peer_id, name)) is not None:
            return lambda: line.send([(FrameKind.END, encode(end))])
        elif request.create:
            environment = incoming.connection.environment
            account = find_account(request.user or DEFAULT_USER)
            session = await self._begin(peer_id, name, request, account, environment)
        else:
            raise manager.unknown(name)
        who = Participant(incoming.petname, peer_id, owner=True, may_type=True, size=_size(request))
        return partial(self._attended, session, who, line, manager, created=created)

    async def adopt(self, incoming: IncomingStream, request: SessionRequest) -> Served:
        """Purpose ``adopt``: a session that the peer has by SSH goes on as one of these, for as long as it is there."""
        peer_id = incoming.connection.peer_id
        name = checked_name(request.name or "")
        found = self._adoptables.find(peer_id, request.handle)
        incoming.authorize_now(Use(("exec",) if found.command is not None else ("shell",)))
        if found.account.switch:
            incoming.authorize_now(AsUser(found.account.name))

        async def adopted() -> PersistentSession:
            taken = await found.give_away()
            size = within_limits(Size(*taken.terminal.size))
            return self._keep(
                SessionTerms(name, peer_id, found.account.name, found.command, found.account.switch),
                partial(PersistentSession, process=taken.process, size=size, model=taken.terminal.model, stays=False),
            )

        with self._registry.place(peer_id, name):
            session = await to_the_end(adopted())
        who = Participant(incoming.petname, peer_id, owner=True, may_type=True, size=session.size, new=False)
        return partial(
            self._attended, session, who, StreamLine(incoming.stream), self._manager(incoming), created=False
        )

    async def _attended(
        self, session: PersistentSession, owner: Participant, line: StreamLine, manager: Manager, *, created: bool
    ) -> None:
        try:
            await attend(session, owner, line, manager.run, created=created)
        finally:
            self._registry.check(owner.peer_id)

    def _check_user(self, incoming: IncomingStream, session: PersistentSession, request: SessionRequest) -> None:
        """Whether the peer may have the session that there is, as when it was begun."""
        terms = session.terms
        incoming.authorize_now(Use(("exec",) if terms.command is not None else ("shell",)))
        if request.user is not None and find_account(request.user).name != terms.account:
            raise IroshError(
                ErrorCode.USAGE,
                f"session {terms.name} runs as {terms.account}",
                f"attach to it as {terms.account}@, or choose another name",
            )
        if terms.switches_account:
            incoming.authorize_now(AsUser(terms.account))

    async def join(self, incoming: IncomingStream, request: SessionRequest) -> Served:
        """Purpose ``join``: as a guest, in the session that the peer was invited to."""
        peer_id = incoming.connection.peer_id
        session, share = self._sharing.invited_to(peer_id, request.name, self._registry.shared())
        incoming.authorize_now(Join(share.id))
        guests = {each.peer_id for each in session.participants if not each.owner}
        if peer_id not in guests and len(guests) >= share.users:
            raise IroshError(ErrorCode.BUSY, f"{len(guests)} guests are at this session, and no more may be")
        check_room(session, peer_id)
        may_type = share.keyboard.get(peer_id, not share.read_only)
        who = Participant(incoming.petname, peer_id, owner=False, may_type=may_type, size=_size(request))

        async def serve() -> None:
            self._node.auditor.record("session", peer_id, "accepted", f"joined {session.terms.name}")
            try:
                await attend(session, who, StreamLine(incoming.stream), None, created=False)
            finally:
                self._node.auditor.record("session", peer_id, "closed", f"left {session.terms.name}")

        return serve

    async def manage(self, incoming: IncomingStream, _request: SessionRequest) -> Served:
        """Purpose ``manage``: commands and answers, until the peer finishes."""
        manager = self._manager(incoming)
        line = StreamLine(incoming.stream)

        async def serve() -> None:
            while True:
                try:
                    async with asyncio.timeout(COMMAND_DEADLINE):
                        frames = await line.receive()
                except TimeoutError:
                    return
                if not frames:
                    return
                await line.send([_managed(manager, frame) for frame in frames])

        return serve

    # -- this machine

    async def attach_here(self, channel: Channel, request: SessionRequest) -> None:
        """A command on this machine attaches to a session that there is."""
        name = checked_name(request.name or "")
        manager = self._manager(None)
        session = manager.find(name)
        if session is None:
            if (end := self._registry.take_outcome(None, name)) is not None:
                await ChannelLine(channel, terminal=request.size is not None).send([(FrameKind.END, encode(end))])
                return
            raise manager.unknown(name)
        check_room(session)
        who = Participant("host", None, owner=True, may_type=True, size=_size(request))
        await self._connected(channel)
        await attend(session, who, ChannelLine(channel, terminal=request.size is not None), manager.run, created=False)

    def manage_here(self, asked: ManageRequest) -> dict[str, Any]:
        """A command on this machine about any of its sessions."""
        return self._manager(None).run(asked.manage())

    async def share(self, channel: Channel, asked: ShareRequest) -> None:
        """Operation ``session.share``: a session with guests, which ends when the command that began it leaves."""
        self._sharing.check(asked.users)
        request = asked.session
        name = checked_name(request.name or f"share-{secrets.token_hex(2)}")
        record = None if asked.record is None else Path(asked.record)
        account = find_account(DEFAULT_USER)
        session = await self._begin(None, name, request, account, {}, record=record)
        try:
            made = self._sharing.begin(
                session, read_only=asked.read_only, users=asked.users, lifetime=asked.lifetime, by=None
            )
            await self._connected(channel)
            await channel.event("shared", record=asked.record, **made)
            who = Participant("host", None, owner=True, may_type=True, size=_size(request))
            line = ChannelLine(channel, terminal=request.size is not None, may_go_on=True)
            await attend(session, who, line, self._manager(None).run, created=True)
            if line.in_background:
                await line.finish(await channel.while_connected(session.wait_over()))
        finally:
            session.end("share-over")

    async def _connected(self, channel: Channel) -> None:
        """As when a peer has been reached, but it is this machine."""
        await channel.event("connected", peer=None, id=self._node.identity.id, new=False, node=os.getpid())

    # -- what they have in common

    async def _begin(
        self,
        owner: str | None,
        name: str,
        request: SessionRequest,
        account: Account,
        environment: dict[str, str],
        *,
        record: Path | None = None,
    ) -> PersistentSession:
        """Start a session's program and keep it. ``IroshError`` (busy, name-taken, target-unreachable, usage)."""
        with self._registry.place(owner, name):
            size = _size(request) or Size(*_DEFAULT_SIZE)
            terminal = Terminal(
                (request.terminal or _DEFAULT_TERMINAL)[:64],
                (size.columns, size.rows, size.width, size.height),
                request.modes,
            )
            given = {**accepted_environment(request.env), **environment, "IROSH_SESSION": name}
            recording = None
            if record is not None:
                shown = {"SHELL": account.shell, "TERM": terminal.kind}
                recording = Recording(record, size.columns, size.rows, shown, name)
            try:
                process = await start_process(account, request.command, terminal, given)
            except BaseException:
                if recording is not None:
                    recording.close()
                raise
            terms = SessionTerms(name, owner, account.name, request.command, account.switch)
            return self._keep(terms, partial(PersistentSession, process=process, size=size, recording=recording))

    def _keep(self, terms: SessionTerms, make: Callable[..., PersistentSession]) -> PersistentSession:
        session = make(terms, pace=self._registry.pace)
        self._registry.keep(session, lambda: self._sharing.end(session))
        self._node.auditor.record("session", terms.owner, "used", f"began {terms.name} as {terms.account}")
        return session

    def _manager(self, incoming: IncomingStream | None) -> Manager:
        if incoming is None:
            return Manager(self._registry, None, self._name_of, self._sharing)
        may_share = partial(incoming.authorize_now, MAY_SHARE)
        return Manager(self._registry, incoming.connection.peer_id, self._name_of, self._sharing, may_share=may_share)

    def _name_of(self, peer_id: str) -> str:
        peer = self._node.trust.get(peer_id)
        return peer.petname if peer else peer_id[:10]

    def _over(self, session: PersistentSession) -> str | None:
        """Why a session has to end: its owner has no right to it any more, or has left what does not stay."""
        self._sharing.check_rights(session)
        terms = session.terms
        if terms.owner is None:
            return None
        permits = self._node.authorizer.permits
        use = Use(("exec",) if terms.command is not None else ("shell",))
        if not permits(terms.owner, use) or (
            terms.switches_account and not permits(terms.owner, AsUser(terms.account))
        ):
            return "revoked"
        return "share-over" if session.abandoned else None


def _managed(manager: Manager, frame: Frame) -> Frame:
    kind, payload = frame
    if kind is not FrameKind.MANAGE:
        raise IroshError(ErrorCode.PROTOCOL, f"a command was expected, not {kind.name}")
    try:
        answer = answer_of(manager.run(decode(payload, Manage)))
    except IroshError as error:
        if error.code is ErrorCode.PROTOCOL:
            raise
        answer = answer_of(error)
    return FrameKind.ANSWER, encode(answer)


def _size(request: SessionRequest) -> Size | None:
    if request.size is None:
        return None
    return within_limits(Size(*request.size))
