"""A connected socket as a stream, for what takes streams."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from irosh.transport.exact_read import read_exactly
from irosh.transport.splice import end_writing


class SocketStream:
    """See :class:`irosh.transport.joining.ClosableStream`. ``ahead``: bytes that have been read from it already."""

    def __init__(self, sock: socket.socket, ahead: bytes = b"") -> None:
        sock.setblocking(False)
        self._socket = sock
        self._ahead = ahead
        self._loop = asyncio.get_running_loop()

    async def read(self, limit: int = 65536) -> bytes:
        if self._ahead:
            data, self._ahead = self._ahead[:limit], self._ahead[limit:]
            return data
        return await self._loop.sock_recv(self._socket, limit)

    async def read_exactly(self, size: int) -> bytes:
        return await read_exactly(self.read, size)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def finish(self) -> None:
        with suppress(OSError):
            end_writing(self._socket)

    async def stop(self, code: int = 0) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    async def close(self) -> None:
        self._socket.close()

    async def abort(self, code: int = 0) -> None:
        self._socket.close()
