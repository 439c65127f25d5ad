"""The client's side of SSH inside the node: one SSH connection for each peer and user, many sessions on it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.node.accounts import DEFAULT_USER
from irosh.node.control import Channel
from irosh.node.control_wire import Kind, parse_message
from irosh.node.peer_connection import PeerConnection
from irosh.services.shell.adoption import HANDLE
from irosh.services.shell.login import ServeAgent, SSHLink, log_in
from irosh.services.shell.messages import ConnectRequest, ShellRequest
from irosh.services.shell.moving import MovableSession
from irosh.services.shell.rekeying import rekey
from irosh.transport.tasks import task_group

log = logging.getLogger(__name__)

MAX_OUTPUT = 512 * 1024  # bytes of a session's output that may wait for the terminal
MOST_AT_ONCE = 128 * 1024
WINDOW = 2 * 1024 * 1024
"""Bytes of a command's output on their way, as with OpenSSH."""
TERMINAL_WINDOW = 256 * 1024
"""Bytes of a terminal's output on their way: what still comes after Ctrl-C, be the network slow or not. At a round trip
time of 0.1 s that is some 2 MB a second, more than anybody reads."""


@dataclass
class SSHClients:
    """The SSH connections of a node's peers, made when first needed and shared afterwards."""

    identity: Identity
    _live: dict[tuple[PeerConnection, str], asyncio.Future[_Shared]] = field(default_factory=dict)

    @asynccontextmanager
    async def use(self, connection: PeerConnection, user: str | None) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """An SSH connection as ``user`` over ``connection``. ``IroshError`` (denied, timeout, …)."""
        shared = await self._get(connection, user)
        shared.users += 1
        try:
            yield shared.link.connection
        finally:
            shared.users -= 1
            if connection.retirement.begun:
                shared.end_if_unused()

    async def _get(self, connection: PeerConnection, user: str | None) -> _Shared:
        key = (connection, user or DEFAULT_USER)
        made = self._live.get(key)
        if made is None or (made.done() and (made.cancelled() or made.exception() or not made.result().link.alive)):
            made = asyncio.ensure_future(_log_in(self.identity, *key))
            self._live[key] = made
            made.add_done_callback(lambda done: self._forget_if_failed(key, done))
        return await asyncio.shield(made)

    async def aclose(self) -> None:
        """Close all."""
        live, self._live = dict(self._live), {}
        for made in live.values():
            made.cancel()
            with suppress(asyncio.CancelledError, IroshError):
                await (await made).aclose()

    def _forget_if_failed(self, key: tuple[PeerConnection, str], made: asyncio.Future[_Shared]) -> None:
        if made.cancelled() or made.exception() is not None:
            self._live.pop(key, None)
            return
        shared = made.result()
        key[0].retirement.on_begin[shared.end_if_unused] = None
        shared.watcher = asyncio.ensure_future(self._forget_when_closed(key, shared))

    async def _forget_when_closed(self, key: tuple[PeerConnection, str], client: _Shared) -> None:
        await client.link.connection.wait_closed()
        if (made := self._live.get(key)) is not None and made.done() and made.result() is client:
            del self._live[key]
        key[0].retirement.on_begin.pop(client.end_if_unused, None)
        await client.link.tunnel.aclose()


@dataclass(eq=False)
class _Shared:
    """A link that several commands use."""

    link: SSHLink
    watcher: asyncio.Future[None] | None = None
    users: int = 0

    def end_if_unused(self) -> None:
        """Let go of it, unless some session has it."""
        if not self.users:
            self.link.connection.abort()

    async def aclose(self) -> None:
        await self.link.aclose()
        if self.watcher is not None:
            await self.watcher


async def log_in_over(
    identity: Identity, connection: PeerConnection, user: str | None, serve_agent: ServeAgent | None = None
) -> SSHLink:
    """An SSH link of one's own over ``connection``; raises as :func:`log_in`, and what the peer answers."""
    opened = await connection.open("shell", ShellRequest(key_auth=True, agent=serve_agent is not None))
    await opened.answer()
    return await log_in(identity, opened.stream, connection.peer_id, user or DEFAULT_USER, serve_agent)


async def _log_in(identity: Identity, connection: PeerConnection, user: str) -> _Shared:
    return _Shared(await log_in_over(identity, connection, user))


async def run_session(
    ssh: asyncssh.SSHClientConnection,
    request: ConnectRequest,
    channel: Channel,
    movable: MovableSession | None = None,
) -> dict[str, Any] | None:
    """Carry one session between ``ssh`` and the attached command; returns ``exit_status`` or ``exit_signal``.

    None: it goes on where ``movable`` has moved.
    """
    session = _ClientSession()
    handle = {} if movable is None else {HANDLE: movable.handle}
    try:
        chan, _ = await ssh.create_session(
            lambda: session,
            request.command,
            encoding=None,
            env=list({**request.env, **handle}.items()),
            request_pty="force" if request.terminal else False,
            term_type=request.terminal,
            term_size=request.size,
            term_modes=request.modes,
            window=TERMINAL_WINDOW if request.terminal else WINDOW,
        )
    except asyncssh.ChannelOpenError as error:
        if ssh.is_closed():
            raise IroshError(ErrorCode.CONNECTION_LOST, "the connection was lost") from None
        wanted = "exec" if request.command is not None else "shell"
        raise IroshError(
            ErrorCode.DENIED,
            f"the host does not let you use `{wanted}`: {error.reason}",
            f"its owner can allow it: irosh peer allow NAME {wanted}",
        ) from None
    except asyncssh.Error as error:
        raise IroshError(ErrorCode.CONNECTION_LOST, f"the connection was lost: {error}") from None
    typing = asyncio.create_task(_carry_input(ssh, chan, session, channel))
    try:
        printing = asyncio.create_task(_carry_output(session, channel))
        works = [printing, typing]
        if movable is not None:
            works.append(asyncio.create_task(_let_go(movable, session)))
        try:
            await asyncio.wait((printing, typing), return_when=asyncio.FIRST_COMPLETED)
            if typing.done() and not printing.done():
                await typing  # the attached command has gone: Gone
            await printing
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
    finally:
        if movable is not None and movable.moved.is_set():
            chan.close()  # what was typed last still goes on its way
        else:
            chan.abort()  # what the program has not taken would keep the host from hearing of it
    if movable is not None and movable.moved.is_set():
        return None
    if session.error is not None:
        if isinstance(session.error, IroshError):
            raise session.error  # the peer's own reason, such as that our access was revoked
        raise IroshError(ErrorCode.CONNECTION_LOST, f"the connection was lost: {session.error}")
    if (exit_signal := chan.get_exit_signal()) is not None:
        return {"exit_signal": exit_signal[0]}
    status = chan.get_exit_status()
    if status is None:
        raise IroshError(ErrorCode.CONNECTION_LOST, "the connection was lost before the command ended")
    return {"exit_status": status}


async def _let_go(movable: MovableSession, session: _ClientSession) -> None:
    """Once it has moved nothing more comes; what the terminal misses is painted anew."""
    await movable.moved.wait()
    session.end_output()


async def _carry_input(ssh: asyncssh.SSHClientConnection, chan: Any, session: _ClientSession, channel: Channel) -> None:
    async with task_group() as group:
        while True:
            kind, payload = await channel.receive()
            if kind is Kind.STDIN:
                with suppress(BrokenPipeError, OSError):
                    if payload:
                        chan.write(payload)
                    else:
                        chan.write_eof()
                if not session.writable.is_set():
                    async with channel.minding():
                        await session.writable.wait()
            elif kind is Kind.MESSAGE:
                message = parse_message(payload)
                if message.get("rekey"):
                    group.create_task(_rekey(ssh, channel))
                else:
                    _control(chan, message)


async def _rekey(ssh: asyncssh.SSHClientConnection, channel: Channel) -> None:
    try:
        await rekey(ssh)
    except IroshError as error:
        await channel.event("rekeyed", error=error.to_dict())
    else:
        await channel.event("rekeyed")


def _control(chan: Any, message: dict[str, Any]) -> None:
    with suppress(OSError):
        if size := message.get("resize"):
            chan.change_terminal_size(*(int(value) for value in size[:4]))
        elif name := message.get("signal"):
            chan.send_signal(str(name))
        elif milliseconds := message.get("break"):
            chan.send_break(int(milliseconds))


async def _carry_output(session: _ClientSession, channel: Channel) -> None:
    while (output := await session.next_output()) is not None:
        kind, data = output
        await channel.send(kind, data)
        session.taken(len(data))


class _ClientSession(asyncssh.SSHClientSession[bytes]):
    """Queues a session's output, and pauses the channel while too much of it waits."""

    def __init__(self) -> None:
        self._output: deque[tuple[Kind, bytes]] = deque()
        self._fresh = asyncio.Event()  # there is output, or there will be none any more
        self._ended = False
        self.writable = asyncio.Event()
        self.writable.set()
        self.error: Exception | None = None
        self._waiting = 0

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._chan = chan

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        kind = Kind.STDERR if datatype == asyncssh.EXTENDED_DATA_STDERR else Kind.STDOUT
        self._waiting += len(data)
        self._output.append((kind, data))
        self._fresh.set()
        if self._waiting > MAX_OUTPUT:
            self._chan.pause_reading()

    async def next_output(self) -> tuple[Kind, bytes] | None:
        """What to print next, several pieces at once where it is much; None when there will be no more."""
        while not self._output:
            if self._ended:
                return None
            self._fresh.clear()
            await self._fresh.wait()
        kind, data = self._output.popleft()
        pieces, size = [data], len(data)
        while self._output and self._output[0][0] is kind and size < MOST_AT_ONCE:
            pieces.append(self._output.popleft()[1])
            size += len(pieces[-1])
        return kind, b"".join(pieces)

    def taken(self, size: int) -> None:
        """``size`` bytes have left the queue."""
        self._waiting -= size
        if self._waiting <= MAX_OUTPUT // 2:
            self._chan.resume_reading()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.writable.set()
        self.end_output()

    def end_output(self) -> None:
        """Nothing more is printed."""
        self._ended = True
        self._fresh.set()
