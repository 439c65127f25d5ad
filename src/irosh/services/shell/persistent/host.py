"""This node's sessions: begun, attached to and shared, each under the capabilities of who asks."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from irosh.core.capability import Capability
from irosh.core.errors import ErrorCode, IroshError
from irosh.node.accounts import DEFAULT_USER, Account, accepted_environment, find_account
from irosh.node.actions import AsUser, Join, Use
from irosh.node.control import Channel
from irosh.node.node import InviteTerms, Node
from irosh.node.operations import make_invite
from irosh.node.services import IncomingStream
from irosh.services.shell.persistent.attending import attend, check_room
from irosh.services.shell.persistent.codec import End, Frame, FrameKind, Manage, Size, decode, encode
from irosh.services.shell.persistent.lines import ChannelLine, StreamLine, answer_of
from irosh.services.shell.persistent.managing import Manager
from irosh.services.shell.persistent.messages import ManageRequest, SessionRequest, ShareRequest, checked_name
from irosh.services.shell.persistent.participant import Participant
from irosh.services.shell.persistent.recording import Recording
from irosh.services.shell.persistent.registry import SessionRegistry
from irosh.services.shell.persistent.session import PersistentSession, SessionTerms, Share, within_limits
from irosh.services.shell.processes import Terminal, start_process

_DEFAULT_SIZE = (80, 24, 0, 0)
_DEFAULT_TERMINAL = "xterm-256color"
Served = Callable[[], Awaitable[None]]
"""Serves a stream once it has been accepted."""
COMMAND_DEADLINE = 60.0  # seconds for the next command on a stream for them
MAX_USERS = 32  # guests at once


class SessionHost:
    """Serves streams and control operations about the sessions on this machine."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._registry = SessionRegistry(self._may_keep)

    async def aclose(self) -> None:
        """End all."""
        await self._registry.aclose()

    # -- peers

    async def attach(self, incoming: IncomingStream, request: SessionRequest) -> Served:
        """Purpose ``attach``: to the peer's own session."""
        peer_id = incoming.connection.peer_id
        name = checked_name(request.name or "")
        manager = self._manager(peer_id)
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

        async def serve() -> None:
            try:
                await attend(session, who, line, manager.run, created=created)
            finally:
                self._registry.check(peer_id)

        return serve

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
        session, share = self._invited_to(peer_id, request.name)
        incoming.authorize_now(Join(share.id))
        guests = {each.peer_id for each in session.participants if not each.owner}
        if peer_id not in guests and len(guests) >= share.users:
            raise IroshError(ErrorCode.BUSY, f"{len(guests)} guests are at this session, and no more may be")
        check_room(session)
        may_type = share.keyboard.get(peer_id, not share.read_only)
        who = Participant(incoming.petname, peer_id, owner=False, may_type=may_type, size=_size(request))

        async def serve() -> None:
            self._node.auditor.record("session", peer_id, "accepted", f"joined {session.terms.name}")
            try:
                await attend(session, who, StreamLine(incoming.stream), None, created=False)
            finally:
                self._node.auditor.record("session", peer_id, "closed", f"left {session.terms.name}")

        return serve

    def _invited_to(self, peer_id: str, name: str | None) -> tuple[PersistentSession, Share]:
        for session in reversed(self._registry.shared()):
            share = session.share
            if share is None or (name is not None and session.terms.name != name):
                continue
            if peer_id not in share.removed and self._node.authorizer.permits(peer_id, Join(share.id)):
                return session, share
        raise IroshError(
            ErrorCode.SESSION_UNKNOWN,
            "there is no shared session here that you may join",
            "it has ended, or its owner has removed you",
        )

    async def manage(self, incoming: IncomingStream, _request: SessionRequest) -> Served:
        """Purpose ``manage``: commands and answers, until the peer finishes."""
        manager = self._manager(incoming.connection.peer_id)
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
        return self._manager(None).run(Manage(asked.command, asked.session, asked.guest))

    async def share(self, channel: Channel, asked: ShareRequest) -> None:
        """Operation ``session.share``: a session with guests, which ends when the command that began it leaves."""
        if not self._node.hosting:
            raise IroshError(
                ErrorCode.NOT_RUNNING, "the running node is no host: it lets nobody in", "start one with `irosh host`"
            )
        if not 1 <= asked.users <= MAX_USERS:
            raise IroshError(ErrorCode.USAGE, f"{asked.users} guests are not possible", f"from 1 to {MAX_USERS}")
        request = asked.session
        name = checked_name(request.name or f"share-{secrets.token_hex(2)}")
        share = Share(secrets.token_hex(16), asked.read_only, asked.users)
        record = None if asked.record is None else Path(asked.record)
        account = find_account(DEFAULT_USER)
        session = await self._begin(None, name, request, account, {}, share=share, record=record)
        try:
            terms = InviteTerms((f"join:{share.id}",), asked.users, asked.lifetime)
            made = make_invite(self._node, terms)
            await self._connected(channel)
            await channel.event("shared", session=name, read_only=share.read_only, record=asked.record, **made)
            who = Participant("host", None, owner=True, may_type=True, size=_size(request))
            await attend(
                session,
                who,
                ChannelLine(channel, terminal=request.size is not None),
                self._manager(None).run,
                created=True,
            )
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
        share: Share | None = None,
        record: Path | None = None,
    ) -> PersistentSession:
        """Start a session's program and keep it. ``IroshError`` (busy, name-taken, target-unreachable, usage)."""
        self._registry.reserve(owner, name)
        try:
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
            session = PersistentSession(terms, process, size, self._registry.pace, share=share, recording=recording)
            self._registry.keep(session, None if share is None else lambda: self._withdraw(share))
        finally:
            self._registry.release(owner, name)
        self._node.auditor.record("session", owner, "used", f"began {name} as {account.name}")
        return session

    def _manager(self, owner: str | None) -> Manager:
        return Manager(self._registry, owner, self._name_of, self._remove_guest, everything=owner is None)

    def _name_of(self, peer_id: str) -> str:
        peer = self._node.trust.get(peer_id)
        return peer.petname if peer else peer_id[:10]

    def _may_keep(self, session: PersistentSession) -> bool:
        """Whether the owner still has what the session was begun with."""
        terms = session.terms
        if terms.owner is None:
            for each in session.participants:
                self._check_guest(session, each)
            return True
        permits = self._node.authorizer.permits
        use = Use(("exec",) if terms.command is not None else ("shell",))
        as_user = not terms.switches_account or permits(terms.owner, AsUser(terms.account))
        return permits(terms.owner, use) and as_user

    def _check_guest(self, session: PersistentSession, participant: Participant) -> None:
        share, peer_id = session.share, participant.peer_id
        if share is None or peer_id is None or participant.owner:
            return
        if not self._node.authorizer.permits(peer_id, Join(share.id)):
            participant.end(End(reason="revoked", name=session.terms.name))

    def _remove_guest(self, session: PersistentSession, peer_id: str) -> None:
        share = session.share
        if share is not None:
            share.removed.add(peer_id)
            self._forget_joining(peer_id, share)
            self._node.auditor.record("session", peer_id, "changed", f"removed from {session.terms.name}")

    def _withdraw(self, share: Share) -> None:
        """The session is over: its ticket and what it granted are worth nothing any more."""
        granted = f"join:{share.id}"
        with suppress(IroshError):  # a full disk; what stays grants nothing, as the id is never used again
            for invite in self._node.trust.invites():
                if granted in map(str, invite.capabilities):
                    self._node.trust.cancel_invite(invite.id)
            for peer in self._node.trust.peers():
                self._forget_joining(peer.id, share)

    def _forget_joining(self, peer_id: str, share: Share) -> None:
        peer = self._node.trust.get(peer_id)
        granted = Capability("join", session=share.id)
        if peer is None or granted not in peer.capabilities:
            return
        self._node.trust.set_capabilities(peer_id, [each for each in peer.capabilities if each != granted])


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
