"""A channel of an SSH connection as a stream, for whatever copies streams."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import asyncssh

from irosh.transport.exact_read import read_exactly
from irosh.transport.interfaces import ConnectionLost, SpliceCounters, lost
from irosh.transport.splice import Copies, end_writing, socket_to_stream, splice, stream_to_socket

MAX_WAITING = 512 * 1024  # bytes of a channel that may wait for their reader
MAX_COMPLAINT = 500  # characters


class ChannelStream(asyncssh.SSHTCPSession[bytes], asyncssh.SSHUNIXSession[bytes], asyncssh.SSHClientSession[bytes]):
    """See :class:`irosh.transport.interfaces.Stream`. What AsyncSSH takes as the session of a channel is itself.

    ``complaint``: what a program that carries the stream has said on standard error.
    """

    def __init__(self) -> None:
        self.complaint = ""
        self._chan: Any = None
        self._opened = asyncio.Event()
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._eof = False
        self._ended = False
        self._error: ConnectionLost | None = None

    # -- asyncssh.SSHTCPSession, and the same of other kinds of sessions

    def connection_made(self, chan: Any) -> None:
        self._chan = chan
        self._opened.set()
        if self._ended:
            asyncio.get_running_loop().call_soon(chan.abort)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is not None:
            self.complaint = (self.complaint + data.decode(errors="replace"))[:MAX_COMPLAINT]
            return
        self._chunks.append(data)
        self._waiting += len(data)
        self._readable.set()
        if self._waiting > MAX_WAITING:
            self._chan.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        self._readable.set()
        return True  # our side may go on

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._eof:
            self._error = exc if isinstance(exc, ConnectionLost) else lost(str(exc))
        self._eof = True
        self._readable.set()
        self._writable.set()
        self._opened.set()
        self._chan = None

    # -- Stream

    async def read(self, limit: int = 65536) -> bytes:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._eof:
                return b""
            self._readable.clear()
            await self._readable.wait()
        chunk = self._chunks.popleft()
        if len(chunk) > limit:
            self._chunks.appendleft(chunk[limit:])
            chunk = chunk[:limit]
        self._waiting -= len(chunk)
        if self._waiting <= MAX_WAITING // 2 and self._chan is not None:
            self._chan.resume_reading()
        return chunk

    async def read_exactly(self, size: int) -> bytes:
        return await read_exactly(self.read, size)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        await self._opened.wait()
        try:
            if self._chan is None:
                raise BrokenPipeError
            self._chan.write(bytes(data))
        except OSError:
            raise self._error or lost("the SSH channel is closed") from None
        await self._writable.wait()

    async def finish(self) -> None:
        if self._chan is not None:
            with suppress(OSError):
                self._chan.write_eof()

    async def stop(self, code: int = 0) -> None:
        """An SSH channel cannot be stopped one way: it is closed."""
        await self.abort(code)

    async def abort(self, code: int = 0) -> None:
        self._ended = True
        if self._chan is not None:
            self._chan.abort()

    async def close(self) -> None:
        """Nothing more is read or written here; what was written still arrives."""
        self._ended = True
        if self._chan is not None:
            self._chan.close()

    def pace(self) -> None:
        """The window of an SSH channel bounds what is on its way."""

    async def splice(
        self, sock: socket.socket, counters: SpliceCounters, ready: Coroutine[Any, Any, None] | None = None
    ) -> Exception | None:
        """Copy both ways between a connected socket and the channel until both ends ended; closes the socket."""
        tap = _Tap(counters)

        async def upward() -> None:
            await socket_to_stream(sock, self, tap)
            await self.finish()

        async def downward() -> None:
            await stream_to_socket(self, sock, tap)
            end_writing(sock)

        failure = await splice(self, sock, Copies(upward, downward), ready)
        await self.close()
        return failure


class _Tap:
    """Counts what is copied; an SSH channel goes on nowhere else, so nothing holds it back."""

    def __init__(self, counters: SpliceCounters) -> None:
        self._counters = counters
        self.interrupt: Any = None

    def sending(self, data: memoryview) -> None:
        self._counters.sent += len(data)

    def may_send(self, _wake: Any) -> bool:
        return True

    def received(self, size: int) -> None:
        self._counters.received += size
