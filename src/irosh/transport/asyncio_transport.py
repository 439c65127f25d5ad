"""A stream as an ``asyncio.Transport``, for protocol libraries that bring their own protocol object (AsyncSSH)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from irosh.transport.interfaces import ByteStream, ConnectionLost, StreamReset

HIGH_WATER = 256 * 1024
READ_SIZE = 64 * 1024
WRITE_SIZE = 256 * 1024


class StreamTransport(asyncio.Transport):
    """Pumps bytes between ``stream`` and ``protocol`` until closed; then ``connection_lost`` is called once.

    Reading stops while the protocol has paused it. What is written is kept until the stream takes it; a protocol
    that writes on regardless of ``pause_writing`` is held back by those who feed it awaiting :meth:`drained`.
    """

    def __init__(self, stream: ByteStream, protocol: asyncio.Protocol) -> None:
        super().__init__({"stream": stream})
        self._stream = stream
        self._protocol = protocol
        self._buffer: deque[bytes] = deque()
        self._size = 0
        self._high = HIGH_WATER
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._calm = asyncio.Event()
        self._calm.set()
        self._closing = False
        self._eof_written = False
        self._lost = False
        protocol.connection_made(self)
        self._task = asyncio.create_task(self._run(), name="stream transport")

    async def wait_closed(self) -> None:
        """Return once both directions have ended and the protocol knows."""
        await asyncio.wait((self._task,))

    async def aclose(self) -> None:
        """Abort, and return once nothing runs any more."""
        self.abort()
        await self.wait_closed()
        await self._stream.abort()

    async def drained(self) -> None:
        """Wait while more than the high-water mark is buffered."""
        await self._calm.wait()

    # -- asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._lost or self._eof_written or not data:
            return
        self._buffer.append(bytes(data))
        self._size += len(data)
        self._wake.set()
        if self._size > self._high and self._calm.is_set():
            self._calm.clear()
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        self._eof_written = True
        self._wake.set()

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self._size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._high // 4, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER if high is None else high

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def is_reading(self) -> bool:
        return self._reading.is_set()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """End after what is buffered has been written."""
        self._closing = True
        self.write_eof()

    def abort(self) -> None:
        """End at once."""
        self._closing = True
        self._task.cancel()

    # -- pumps

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_pump())
                group.create_task(self._write_pump())
        except* _Finished:
            pass
        except* (OSError, StreamReset, ConnectionLost) as failures:
            error = failures.exceptions[0] if isinstance(failures.exceptions[0], Exception) else None
        finally:
            self._lost = self._closing = True
            self._buffer.clear()
            self._size = 0
            self._calm.set()
            self._protocol.connection_lost(error)

    async def _read_pump(self) -> None:
        while True:
            await self._reading.wait()
            data = await self._stream.read(READ_SIZE)
            if not data:
                break
            self._protocol.data_received(data)
        if not self._protocol.eof_received():
            self.close()

    async def _write_pump(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._buffer:
                await self._stream.write(self._take())
                if self._size <= self._high // 4 and not self._calm.is_set():
                    self._calm.set()
                    self._protocol.resume_writing()
            if self._eof_written:
                await self._stream.finish()
                break
        if self._closing:
            # Nobody waits for the peer's end any more.
            raise _Finished

    def _take(self) -> bytes:
        chunks = []
        size = 0
        while self._buffer and size < WRITE_SIZE:
            chunk = self._buffer.popleft()
            chunks.append(chunk)
            size += len(chunk)
        self._size -= size
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class _Finished(Exception):
    """The orderly end of a closing transport; ends the reading pump too."""


class StreamTunnel:
    """What AsyncSSH's ``tunnel=`` argument takes: makes the protocol run over ``stream``."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.transport: StreamTransport | None = None

    async def create_connection(
        self, protocol_factory: Any, _host: str, _port: int
    ) -> tuple[StreamTransport, asyncio.Protocol]:
        """Connect the protocol that ``protocol_factory`` makes; host and port have no meaning here."""
        protocol = protocol_factory()
        self.transport = StreamTransport(self._stream, protocol)
        return self.transport, protocol

    async def aclose(self) -> None:
        """End the transport, if there was one, and the stream."""
        if self.transport is not None:
            await self.transport.aclose()
        else:
            await self._stream.abort()
