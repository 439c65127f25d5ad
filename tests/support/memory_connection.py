"""Connections in memory: what the engine offers, deterministic, and cut, slowed or reordered as a test wants.

As on QUIC, each stream keeps its own order and none waits for another; a stream shows at the accepting end with its
first frame; what was not read is held back by flow control; a reset or a loss takes what is under way with it; reading
and stopping, or writing and resetting, one stream at once is one after the other.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from irosh.core.errors import IroshError
from irosh.transport.interfaces import ConnectionLost, Path, ReceivingTap, SendingTap, StreamReset, Told, Traffic, lost
from irosh.transport.reading import begin_read
from irosh.transport.splice import socket_to_stream, stream_to_socket

DATAGRAM_SIZE = 1200


@dataclass(frozen=True)
class Conditions:
    """Seconds each frame takes, at least and at most; bytes a stream may have unread; bytes of one frame."""

    delay: tuple[float, float] = (0.0, 0.0)
    window: int = 64 * 1024
    frame: int = 16 * 1024
    datagram_delay: tuple[float, float] | None = None
    """Of datagrams, which nothing before them holds back; None: as frames."""
    drains: bool = True
    """What had arrived before the connection was lost can still be read."""


class MemoryLink:
    """A connection between ``near`` and ``far``, and what may happen to it. Same ``seed``, same course."""

    def __init__(
        self, near_id: str = "near", far_id: str = "far", conditions: Conditions | None = None, *, seed: int = 0
    ) -> None:
        self.conditions = conditions or Conditions()
        self.is_cut = False
        self._fuse: tuple[int, float | None, float | None] | None = None
        self._random = random.Random(seed)
        self.near = MemoryConnection(self, peer_id=far_id)
        self.far = MemoryConnection(self, peer_id=near_id)
        self.near.other, self.far.other = self.far, self.near

    def cut(self, near: float | None = 0.0, far: float | None = 0.0) -> None:
        """Nothing passes any more. Each end notices after so many seconds; None: never by itself."""
        self.is_cut = True
        loop = asyncio.get_running_loop()
        for end, delay in ((self.near, near), (self.far, far)):
            if delay is not None:
                loop.call_later(delay, end.lose, lost("the link was cut"))

    def cut_after(self, frames: int, near: float | None = 0.0, far: float | None = 0.0) -> None:
        """Cut once so many more frames have arrived."""
        self._fuse = (frames, near, far)

    def passes(self) -> bool:
        """Whether a frame arrives."""
        if self._fuse is not None and not self.is_cut:
            frames, near, far = self._fuse
            self._fuse = (frames - 1, near, far)
            if frames <= 0:
                self.cut(near, far)
        return not self.is_cut

    def delay(self) -> float:
        """Of the next frame."""
        return self._random.uniform(*self.conditions.delay)

    def datagram_delay(self) -> float:
        """Of the next datagram."""
        return self._random.uniform(*(self.conditions.datagram_delay or self.conditions.delay))


class _Waiters:
    """Who waits for a change at one end of a stream."""

    def __init__(self) -> None:
        self._futures: dict[asyncio.Future[None], None] = {}  # in order, to be deterministic

    async def changed(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._futures[future] = None
        try:
            await future
        finally:
            del self._futures[future]

    def wake(self) -> None:
        for future in self._futures:
            if not future.done():
                future.set_result(None)


class _Wire:
    """Frames under way in one direction of one stream, in order."""

    def __init__(self, sender: MemoryConnection, to: MemoryConnection) -> None:
        self._link = sender.link
        self._sender = sender
        self._to = to
        self._frames: deque[Callable[[], None]] = deque()
        self._last = 0.0

    def send(self, arrive: Callable[[], None]) -> None:
        if self._link.is_cut or self._sender.is_closed:
            return
        loop = asyncio.get_running_loop()
        self._frames.append(arrive)
        self._last = max(self._last, loop.time() + self._link.delay())
        loop.call_at(self._last, self._arrive)

    def forget(self) -> None:
        """Frames under way are lost."""
        for index in range(len(self._frames)):
            self._frames[index] = _nothing

    def _arrive(self) -> None:
        arrive = self._frames.popleft()
        if self._link.passes() and not self._to.is_closed:
            arrive()


class _Direction:
    """One direction of one stream: its sending and its receiving end."""

    def __init__(self, sender: MemoryConnection, receiver: MemoryConnection) -> None:
        self._sender, self._receiver = sender, receiver
        self._conditions = sender.link.conditions
        self._there = _Wire(sender, receiver)
        self._back = _Wire(receiver, sender)
        self.on_first: Callable[[], None] | None = None
        """Called once when the first frame arrives."""
        # the sender's view
        self.room = _Waiters()
        self._outstanding = 0
        self._closed = False
        self._stopped: int | None = None
        # the receiver's view
        self.news = _Waiters()
        self._buffer = bytearray()
        self._ended = False
        self._reset: int | None = None
        self._refused = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        rest = bytes(data)
        while True:
            self._sender.check()
            if self._closed or self._stopped is not None:
                raise StreamReset(self._stopped or 0)
            size = min(len(rest), self._conditions.window - self._outstanding, self._conditions.frame)
            if size:
                frame, rest = rest[:size], rest[size:]
                self._outstanding += size
                self._send(partial(self._arrived, frame))
            if not rest:
                return
            if not size:
                await self.room.changed()

    def finish(self) -> None:
        self._sender.check()
        if self._closed:
            raise StreamReset(0)
        self._closed = True
        if self._stopped is None:
            self._send(self._arrived_end)

    def reset(self, code: int) -> None:
        self._closed = True
        self._there.forget()
        self._send(lambda: self._arrived_reset(code))

    async def read(self, limit: int) -> bytes:
        while True:
            if not self._conditions.drains or not self._buffer:
                self._receiver.check()
            if self._refused:
                raise StreamReset(0)
            if self._reset is not None:
                raise StreamReset(self._reset)
            if self._buffer:
                data = bytes(self._buffer[:limit])
                del self._buffer[:limit]
                self._back.send(partial(self._credited, len(data)))
                return data
            if self._ended:
                return b""
            try:
                await self.news.changed()
            except asyncio.CancelledError:
                del self._buffer[:limit]  # the engine had taken it for this read
                raise

    def stop(self, code: int) -> None:
        if not self._refused and not (self._ended and not self._buffer):
            self._refused = True
            self._buffer.clear()
            self._back.send(lambda: self._arrived_stop(code))

    def _send(self, arrive: Callable[[], None]) -> None:
        def arrived() -> None:
            if (first := self.on_first) is not None:
                self.on_first = None
                first()
            arrive()
            self.news.wake()

        self._there.send(arrived)

    def _arrived(self, frame: bytes) -> None:
        if not self._refused:
            self._buffer += frame

    def _arrived_end(self) -> None:
        self._ended = True

    def _arrived_reset(self, code: int) -> None:
        if not (self._ended and not self._buffer):
            self._reset = code
            self._buffer.clear()

    def _arrived_stop(self, code: int) -> None:
        self._stopped = code
        self.room.wake()

    def _credited(self, size: int) -> None:
        self._outstanding -= size
        self.room.wake()


class MemoryStream:
    """One end of a stream. See :class:`irosh.transport.interfaces.CarrierStream`."""

    def __init__(self, outgoing: _Direction, incoming: _Direction) -> None:
        self._outgoing, self._incoming = outgoing, incoming
        self._writing, self._reading = asyncio.Lock(), asyncio.Lock()

    async def read(self, limit: int = 65536) -> bytes:
        async with self._reading:
            return await self._incoming.read(limit)

    def begin_read(self, limit: int, told: Told) -> Callable[[], object]:
        return begin_read(self, limit, told)

    async def read_exactly(self, size: int) -> bytes:
        async with self._reading:
            data = b""
            while len(data) < size:
                more = await self._incoming.read(size - len(data))
                if not more:
                    raise EOFError("the stream ended early")
                data += more
            return data

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        async with self._writing:
            await self._outgoing.write(data)

    async def finish(self) -> None:
        async with self._writing:
            self._outgoing.finish()

    async def stop(self, code: int = 0) -> None:
        async with self._reading:
            self._incoming.stop(code)

    async def abort(self, code: int = 0) -> None:
        async with self._writing:
            self._outgoing.reset(code)
        await self.stop(code)

    async def copy_from(self, sock: socket.socket, tap: SendingTap) -> None:
        await socket_to_stream(sock, self, tap)

    async def copy_to(self, sock: socket.socket, tap: ReceivingTap) -> None:
        await stream_to_socket(self, sock, tap)


class MemoryConnection:
    """One end of a :class:`MemoryLink`. See :class:`irosh.transport.interfaces.Connection`."""

    other: MemoryConnection

    def __init__(self, link: MemoryLink, *, peer_id: str) -> None:
        self.link = link
        self.peer_id = peer_id
        self.streams = 0
        """Opened here or by the peer, so far."""
        self._reason: ConnectionLost | None = None
        self._waiters: list[_Waiters] = []
        self._news = self._waiting()
        self._arrived: deque[MemoryStream] = deque()
        self._datagrams: deque[bytes] = deque()

    async def open_stream(self) -> MemoryStream:
        self.check()
        there, back = _Direction(self, self.other), _Direction(self.other, self)
        for end, waiters in ((self, there.room), (self, back.news), (self.other, there.news), (self.other, back.room)):
            end._waiters.append(waiters)
        there.on_first = lambda: self.other.arrive(MemoryStream(back, there))
        self.streams += 1
        return MemoryStream(there, back)

    async def accept_stream(self) -> MemoryStream:
        while not self._arrived:
            self.check()
            await self._news.changed()
        return self._arrived.popleft()

    def arrive(self, stream: MemoryStream) -> None:
        """The peer's stream shows here."""
        self.streams += 1
        self._arrived.append(stream)
        self._news.wake()

    @property
    def max_datagram_size(self) -> int:
        return DATAGRAM_SIZE

    def send_datagram(self, data: bytes) -> bool:
        if self.is_closed or len(data) > DATAGRAM_SIZE:
            return False
        if not self.link.is_cut:
            asyncio.get_running_loop().call_later(self.link.datagram_delay(), self.other.arrive_datagram, data)
        return True

    def arrive_datagram(self, data: bytes) -> None:
        """The peer's datagram is here, unless the link was cut."""
        if not self.link.is_cut:
            self._datagrams.append(data)
            self._news.wake()

    async def receive_datagram(self) -> bytes:
        while not self._datagrams:
            self.check()
            await self._news.changed()
        return self._datagrams.popleft()

    def allow_streams(self, count: int, *, window: int) -> None:
        """Not limited here."""

    def paths(self) -> list[Path]:
        return []

    def traffic(self) -> Traffic:
        return Traffic()

    @property
    def is_closed(self) -> bool:
        return self._reason is not None

    def close_reason(self) -> ConnectionLost:
        return self._copy(self._reason or lost("not closed"))

    async def wait_closed(self) -> ConnectionLost:
        while self._reason is None:
            await self._news.changed()
        return self.close_reason()

    def close(self, error: IroshError | None = None, *, moved: bool = False) -> None:
        if self.is_closed:
            return
        here = lost("closed here")
        there = lost("closed by the peer") if error is None else ConnectionLost(error.code, error.message, error.hint)
        there.deliberate = not moved
        self.lose(here)
        if not self.link.is_cut:
            asyncio.get_running_loop().call_later(self.link.delay(), self._tell, there)

    def _tell(self, reason: ConnectionLost) -> None:
        if not self.link.is_cut:
            self.other.lose(reason)

    def lose(self, reason: ConnectionLost) -> None:
        """This end is closed, for ``reason``, unless it was."""
        if self._reason is None:
            self._reason = reason
            for waiters in self._waiters:
                waiters.wake()

    def check(self) -> None:
        """Raises why the connection is closed, if it is."""
        if self._reason is not None:
            raise self.close_reason()

    def _waiting(self) -> _Waiters:
        waiters = _Waiters()
        self._waiters.append(waiters)
        return waiters

    @staticmethod
    def _copy(reason: ConnectionLost) -> ConnectionLost:
        copy = ConnectionLost(reason.code, reason.message, reason.hint)
        copy.deliberate = reason.deliberate
        return copy


async def greet_over(link: MemoryLink) -> tuple[MemoryStream, MemoryStream]:
    """The control stream of a connection that is to carry a session, at its near and its far end."""
    near = await link.near.open_stream()
    await near.write(b"!")
    far = await link.far.accept_stream()
    await far.read_exactly(1)
    return near, far


def _nothing() -> None:
    return None
