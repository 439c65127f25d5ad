"""Splicing a socket and a stream: how its two copies begin, end and fail together, and copies for any engine."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from irosh.transport.interfaces import (
    ByteStream,
    ConnectionLost,
    ReceivingTap,
    SendingTap,
    Stream,
    StreamReset,
)
from irosh.transport.tasks import to_the_end

SMALL_CHUNK = 16 * 1024
LARGE_CHUNK = 256 * 1024
RESET_BY_SOCKET = 2

# One buffer for all splices of the process: it is filled and handed to the stream without a wait between,
# and Stream.write copies it before its first wait. Saves an allocation of LARGE_CHUNK for each read.
_shared = bytearray(LARGE_CHUNK)
_shared_view = memoryview(_shared)


class StaleCopy(Exception):
    """Ends a copy whose stream goes on elsewhere."""


@dataclass(frozen=True)
class Copies:
    """The two directions of a splice. Each ends by passing on the end of its input; failures are raised."""

    upward: Callable[[], Coroutine[Any, Any, None]]
    downward: Callable[[], Coroutine[Any, Any, None]]


async def splice(
    stream: Stream, sock: socket.socket, directions: Copies, ready: Coroutine[Any, Any, None] | None = None
) -> Exception | None:
    """See :meth:`irosh.transport.interfaces.Stream.splice`."""
    sock.setblocking(False)
    answered = False
    copies = [asyncio.ensure_future(directions.upward())]
    try:
        if ready is not None:
            # Until the peer's answer is read, a failing upward copy must not take the answer with it.
            await ready
        answered = True
        copies.append(asyncio.ensure_future(directions.downward()))
        done, _ = await asyncio.wait(copies, return_when=asyncio.FIRST_EXCEPTION)
        for copy in done:
            copy.result()
    except (OSError, StreamReset, ConnectionLost, EOFError) as error:
        # One side broke off: what is true for it becomes true for the other.
        peer_ended = len(copies) > 1 and copies[1].done() and copies[1].exception() is None
        await to_the_end(_break_off(sock, stream, copies))
        if not answered:
            raise
        return None if peer_ended and isinstance(error, StreamReset) else error
    except BaseException:
        await to_the_end(_break_off(sock, stream, copies))
        raise
    finally:
        sock.close()
    return None


async def _break_off(sock: socket.socket, stream: Stream, copies: Sequence[asyncio.Future[None]]) -> None:
    """End both directions at once. The copies go first: a stream cannot be stopped while it is being read."""
    for copy in copies:
        copy.cancel()
    await asyncio.gather(*copies, return_exceptions=True)
    _reset_on_close(sock)
    await stream.abort(RESET_BY_SOCKET)


async def socket_to_stream(sock: socket.socket, stream: ByteStream, tap: SendingTap) -> None:
    """:meth:`irosh.transport.interfaces.CarrierStream.copy_from` for any engine."""
    loop = asyncio.get_running_loop()
    gate = _Gate(loop)
    tap.interrupt = gate.interrupt
    while True:
        try:
            size = sock.recv_into(_shared)
        except (BlockingIOError, InterruptedError):
            await gate.readable(sock)
            continue
        if not size:
            return
        chunk = _shared_view[:size]
        tap.sending(chunk)
        await stream.write(chunk)
        while not tap.may_send(gate.open):
            await gate.opened()


async def stream_to_socket(stream: ByteStream, sock: socket.socket, tap: ReceivingTap) -> None:
    """:meth:`irosh.transport.interfaces.CarrierStream.copy_to` for any engine."""
    loop = asyncio.get_running_loop()
    limit = SMALL_CHUNK
    while data := await stream.read(limit):
        size = len(data)
        tap.received(size)
        try:
            sent = sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < size:
            await loop.sock_sendall(sock, memoryview(data)[sent:])
        # Idle and interactive streams keep small buffers; bulk grows to large ones.
        if size == limit and limit < LARGE_CHUNK:
            limit *= 4


class _Gate:
    """What an upward copy waits at: its socket, or room to send. Interrupted, it raises :class:`StaleCopy`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: asyncio.Future[None] | None = None
        self._interrupted = False

    def open(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def interrupt(self) -> None:
        self._interrupted = True
        self.open()

    async def opened(self) -> None:
        if not self._interrupted:
            self._waiting = self._loop.create_future()
            await self._waiting
        if self._interrupted:
            raise StaleCopy

    async def readable(self, sock: socket.socket) -> None:
        descriptor = sock.fileno()
        self._loop.add_reader(descriptor, self.open)
        try:
            await self.opened()
        finally:
            self._loop.remove_reader(descriptor)


def end_writing(sock: socket.socket) -> None:
    """Half-close ``sock``; it does not matter if the program at its other end has gone already."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise


def _reset_on_close(sock: socket.socket) -> None:
    """Make close() send a TCP reset instead of an orderly end, so that the other program sees the failure."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
