"""Forwards over the SSH connection at the end of a way through other machines, RFC 4254 section 7."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncssh

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.forward_spec import EVERY_INTERFACE
from irosh.core.socket_spec import SocketSpec
from irosh.node.forward_way import Take
from irosh.services.shell.channel_opening import opened
from irosh.services.shell.channel_stream import ChannelStream
from irosh.transport.interfaces import Stream
from irosh.transport.sockets import client_name

LISTENING_DEADLINE = 30.0
CANCEL_DEADLINE = 3.0


@dataclass
class SSHWay:
    """See :class:`irosh.node.forward_way.ForwardWay`. ``failure``: why the way broke, as ``error`` seems to say."""

    ssh: asyncssh.SSHClientConnection
    connected: dict[str, Any]
    failure: Callable[[IroshError], IroshError]

    async def open(self, target: SocketSpec) -> Stream:
        stream = ChannelStream()
        if target.protocol == "unix":
            await opened(self.ssh.create_unix_connection(lambda: stream, target.path, encoding=None))
        elif target.protocol == "tcp":
            await opened(self.ssh.create_connection(lambda: stream, target.host, target.port, encoding=None))
        else:
            raise IroshError(ErrorCode.USAGE, "SSH has no datagrams")
        return stream

    async def listen(self, host: str | None, port: int, path: str, take: Take) -> SSHListenerThere:
        def taken(name: str) -> ChannelStream:
            stream = ChannelStream()
            take(stream, name)
            return stream

        if path:
            listener = await _listening(
                path, self.ssh.create_unix_server(lambda: taken(client_name(path)), path, encoding=None)
            )
            return SSHListenerThere(self.ssh, listener, SocketSpec("unix", path=path))
        # RFC 4254, section 7.1: what these names mean to listen at.
        asked = "localhost" if host is None else "" if host == EVERY_INTERFACE else host
        at = SocketSpec("tcp", host="localhost" if host is None else host, port=port)
        listener = await _listening(
            f"{at.host}:{port}",
            self.ssh.create_server(lambda *origin: taken(client_name(origin)), asked, port, encoding=None),
        )
        return SSHListenerThere(self.ssh, listener, SocketSpec("tcp", host=at.host, port=listener.get_port()))

    async def until_lost(self) -> None:
        await self.ssh.wait_closed()
        raise self.failure(IroshError(ErrorCode.CONNECTION_LOST, "the SSH connection was lost"))


@dataclass
class SSHListenerThere:
    """See :class:`irosh.node.forward_way.ListenerThere`."""

    ssh: asyncssh.SSHClientConnection
    listener: asyncssh.SSHListener
    at: SocketSpec

    async def close(self) -> None:
        self.listener.close()
        if self.ssh.is_closed():
            return  # nobody would answer
        # Until the far end has heard it: the connection may be about to end, which need not be noticed there at once.
        with suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_DEADLINE):
                await self.listener.wait_closed()


async def _listening(where: str, asking: Awaitable[asyncssh.SSHListener]) -> asyncssh.SSHListener:
    try:
        async with asyncio.timeout(LISTENING_DEADLINE):
            return await asking
    except asyncssh.ChannelListenError:
        # SSH gives no reason: it is not allowed there, or taken.
        raise IroshError(ErrorCode.BIND_FAILED, f"the far end does not listen on {where}") from None
    except TimeoutError:
        raise IroshError(ErrorCode.TIMEOUT, f"no answer within {LISTENING_DEADLINE:g} s") from None
    except asyncssh.Error as error:
        raise IroshError(ErrorCode.CONNECTION_LOST, f"the SSH connection was lost: {error}") from None
