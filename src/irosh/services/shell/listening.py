"""``ssh -R`` of a stock client: sockets on the host whose connections become SSH channels, RFC 4254 section 7."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.forward_spec import EVERY_INTERFACE, listen_hosts
from irosh.core.socket_spec import SocketSpec, bracketed, parse_listen
from irosh.node.actions import Action, Grant, Reach
from irosh.transport.sockets import Bound, accept_each, bind_all, close_listener, tune

log = logging.getLogger(__name__)

MAX_LISTENERS = 256  # of one SSH connection
_CHUNK = 64 * 1024

Authorize = Callable[[Action], Awaitable[Grant]]


class Listeners:
    """The listeners of one SSH connection; their tasks belong to ``group``."""

    def __init__(
        self, connection: asyncssh.SSHServerConnection, authorize: Authorize, group: asyncio.TaskGroup
    ) -> None:
        self._connection = connection
        self._authorize = authorize
        self._group = group
        self._live: set[_Listener] = set()
        self._ended = False

    def close(self) -> None:
        """The connection has ended."""
        self._ended = True
        for listener in list(self._live):
            listener.close()

    async def listen_tcp(self, host: str, port: int) -> asyncssh.SSHListener:
        """At ``host`` as the client asked for it: ``localhost`` is both loopback addresses, nothing every interface.

        ``IroshError``: denied, port-taken, bind-failed, …
        """
        name = None if host == "localhost" else EVERY_INTERFACE if host == "" else host
        specs = [parse_listen(f"tcp://{bracketed(each)}:{port}") for each in listen_hosts(name)]

        async def channel(chosen: int, client: tuple[str, int]) -> Any:
            # The client knows its forward by the address that it asked for, not by the one that was meant.
            return await self._connection.open_connection(host, chosen, *client, encoding=None)

        return await self._listen(specs, lambda sock: channel(sock.getsockname()[1], _peer(sock)))

    async def listen_unix(self, path: str) -> asyncssh.SSHListener:
        """At ``path``. ``IroshError`` as for :meth:`listen_tcp`."""

        async def channel(_sock: socket.socket) -> Any:
            return await self._connection.open_unix_connection(path, encoding=None)

        return await self._listen([parse_listen(f"unix://{path}")], channel)

    async def _listen(self, specs: list[SocketSpec], channel: Callable[[socket.socket], Awaitable[Any]]) -> _Listener:
        if len(self._live) >= MAX_LISTENERS:
            raise IroshError(ErrorCode.BUSY, f"{MAX_LISTENERS} listeners of one connection are enough")
        grants = await self._granted(specs)
        bound = await bind_all([spec for grant in grants for spec in grant.sockets()], follow_links=False)
        listener = _Listener(bound, self._live.discard)
        if self._ended:
            listener.close()
            raise IroshError(ErrorCode.CONNECTION_LOST, "the connection has ended meanwhile")
        self._live.add(listener)

        async def bring(client: socket.socket, name: str) -> None:
            try:
                tune(client)
                await self._authorize(grants[0].action)  # what was taken away since holds at once
                reader, writer = await channel(client)
                await _join(client, reader, writer)
            except (IroshError, OSError, asyncssh.Error) as error:
                log.info("forwarded connection from %s: %s", name, error)
            finally:
                client.close()

        def crowded(error: IroshError) -> None:
            log.warning("%s", error.message)

        for _, sock in bound:
            accepting = accept_each(sock, lambda client, name: self._group.create_task(bring(client, name)), crowded)
            listener.tasks.append(self._group.create_task(accepting))
        return listener

    async def _granted(self, specs: list[SocketSpec]) -> list[Grant]:
        """The first of ``specs`` must be granted; further ones are left out when they are not."""
        grants = [await self._authorize(Reach("listen", specs[0]))]
        for spec in specs[1:]:
            try:
                grants.append(await self._authorize(Reach("listen", spec)))
            except IroshError as error:
                log.info("does not listen at %s: %s", spec, error.message)
        return grants


class _Listener(asyncssh.SSHListener):
    """What AsyncSSH closes when the client cancels the forward, or has gone. Open connections go on."""

    def __init__(self, bound: list[Bound], closed: Callable[[_Listener], None]) -> None:
        super().__init__()
        self.tasks: list[asyncio.Task[None]] = []
        self._bound = bound
        self._port = bound[0][0].port
        self._closed = closed

    def get_port(self) -> int:
        return self._port

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        # Behind what the cancelled tasks have to do with the sockets.
        asyncio.get_running_loop().call_soon(self._close)
        self._closed(self)

    def _close(self) -> None:
        while self._bound:
            close_listener(self._bound.pop()[1])

    async def wait_closed(self) -> None:
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _join(client: socket.socket, reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
    """Copy both ways until both have ended; each passes its end on."""
    loop = asyncio.get_running_loop()

    async def upward() -> None:
        while data := await loop.sock_recv(client, _CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def downward() -> None:
        while data := await reader.read(_CHUNK):
            await loop.sock_sendall(client, data)
        client.shutdown(socket.SHUT_WR)

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(upward())
            group.create_task(downward())
    except* (OSError, asyncssh.Error) as failures:
        raise failures.exceptions[0] from None
    finally:
        writer.close()


def _peer(sock: socket.socket) -> tuple[str, int]:
    host, port, *_ = sock.getpeername()
    return host, port
