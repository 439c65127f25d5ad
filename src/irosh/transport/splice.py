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

from irosh.transport.interfaces import ConnectionLost, SpliceCounters, Stream, StreamReset
from irosh.transport.tasks import to_the_end

SMALL_CHUNK = 16 * 1024
LARGE_CHUNK = 256 * 1024
RESET_BY_SOCKET = 2

# One buffer for all splices of the process: it is filled and handed to the stream without a wait between,
# and Stream.write copies it before its first wait. Saves an allocation of LARGE_CHUNK for each read.
_shared = bytearray(LARGE_CHUNK)
_shared_view = memoryview(_shared)


@dataclass(frozen=True)
class Copies:
    """The two directions of a splice. Each ends by passing on the end of its input; failures are raised."""

    upward: Callable[[], Coroutine[Any, Any, None]]
    downward: Callable[[], Coroutine[Any, Any, None]]


def general_copies(stream: Stream, sock: socket.socket, counters: SpliceCounters) -> Copies:
    """Copies made of :meth:`Stream.read` and :meth:`Stream.write`."""
    return Copies(lambda: _socket_to_stream(sock, stream, counters), lambda: _stream_to_socket(stream, sock, counters))


async def splice(
    stream: Stream, sock: socket.socket, directions: Copies, ready: Coroutine[Any, Any, None] | None = None
) -> None:
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
    except (OSError, StreamReset, ConnectionLost, EOFError):
        # One side broke off: what is true for it becomes true for the other.
        await _break_off(sock, stream, copies)
        if not answered:
            raise
    except BaseException:
        await to_the_end(_break_off(sock, stream, copies))
        raise
    finally:
        sock.close()


async def _break_off(sock: socket.socket, stream: Stream, copies: Sequence[asyncio.Future[None]]) -> None:
    """End both directions at once. The copies go first: a stream cannot be stopped while it is being read."""
    for copy in copies:
        copy.cancel()
    await asyncio.gather(*copies, return_exceptions=True)
    _reset_on_close(sock)
    await stream.abort(RESET_BY_SOCKET)


async def _socket_to_stream(sock: socket.socket, stream: Stream, counters: SpliceCounters) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            size = sock.recv_into(_shared)
        except (BlockingIOError, InterruptedError):
            await _readable(loop, sock)
            continue
        if not size:
            break
        await stream.write(_shared_view[:size])
        counters.sent += size
    await stream.finish()


async def _stream_to_socket(stream: Stream, sock: socket.socket, counters: SpliceCounters) -> None:
    loop = asyncio.get_running_loop()
    limit = SMALL_CHUNK
    while data := await stream.read(limit):
        size = len(data)
        try:
            sent = sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < size:
            await loop.sock_sendall(sock, memoryview(data)[sent:])
        counters.received += size
        # Idle and interactive streams keep small buffers; bulk grows to large ones.
        if size == limit and limit < LARGE_CHUNK:
            limit *= 4
    end_writing(sock)


def end_writing(sock: socket.socket) -> None:
    """Half-close ``sock``; it does not matter if the program at its other end has gone already."""
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready: asyncio.Future[None] = loop.create_future()
    fd = sock.fileno()
    loop.add_reader(fd, _set_ready, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


def _set_ready(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _reset_on_close(sock: socket.socket) -> None:
    """Make close() send a TCP reset instead of an orderly end, so that the other program sees the failure."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
