"""One stream of a session with several carriers: its bytes go in pieces by any of them, and are put in order again.

Sending: every byte is kept in a :class:`~irosh.transport.session.replay.ReplayLog` until the peer has it; what goes
where is :class:`~irosh.transport.session.sending.Sending`'s to say.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.interfaces import SpliceCounters, StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.ending import EndingStream
from irosh.transport.session.frames import Telling
from irosh.transport.session.lane_frames import Piece
from irosh.transport.session.load import CarrierLoad
from irosh.transport.session.reassembly import FIRST_WINDOW, Reassembly, Window, WindowBudget
from irosh.transport.session.replay import ReplayBudget
from irosh.transport.session.sending import Flight, Sending, checked_acknowledgement
from irosh.transport.small import SmallEvent
from irosh.transport.splice import LARGE_CHUNK, Copies, end_writing, socket_to_stream, splice

MOST_UNSENT = 1024 * 1024
"""Bytes that wait for room on a carrier before writers do."""


class MultiStreamOwner(Protocol):
    """The session of a stream."""

    def to_send(self, stream: MultiStream) -> None:
        """It has something to send."""

    def progressed(self, stream: MultiStream) -> None:
        """The peer is to hear what has arrived, and how far it may go."""

    def tell(self, stream: MultiStream, what: Telling, code: int = 0) -> None:
        """The peer is to hear that, whatever happens."""

    def load(self, carrier: Carrier) -> CarrierLoad | None:
        """Of a carrier that lives."""

    def forget(self, stream: MultiStream) -> None:
        """The stream needs the session no more."""


class MultiStream(EndingStream):
    """See :class:`irosh.transport.interfaces.Stream`. ``ours``: this side opened it."""

    def __init__(
        self,
        owner: MultiStreamOwner,
        number: int,
        replay: ReplayBudget,
        windows: WindowBudget,
        *,
        ours: bool,
        redundant: bool,
    ) -> None:
        super().__init__(replay)
        self.number = number
        self.ours = ours
        self.sending: Sending[Carrier] = Sending(FIRST_WINDOW, redundant=redundant)
        self.incoming = Reassembly()
        self._window = Window(windows)
        self._owner = owner
        self._turn = asyncio.Lock()  # of writers
        self._room = SmallEvent()
        self._readable = SmallEvent()
        self._early = bytearray()
        self._read_error: Exception | None = None
        self._stopped = False

    # -- the session's side

    @property
    def received(self) -> int:
        """Bytes that have arrived without a gap."""
        return self.incoming.received

    @property
    def limit(self) -> int:
        """How far the peer may go."""
        return self._window.limit

    @property
    def stop_at(self) -> int:
        """Behind all that is there to send; the end counts as one."""
        return self.log.end + self.log.finished

    def arrived(self, piece: Piece) -> None:
        """``IroshError`` (protocol-error) for what the peer may not send."""
        if self._read_error is not None or self._stopped:
            return
        if piece.offset + len(piece.data) > self._window.limit:
            raise IroshError(ErrorCode.PROTOCOL, "the peer sends more than it may")
        was_complete = self.incoming.is_complete
        self.incoming.add(piece.offset, piece.data)
        if piece.end:
            self.incoming.finish(piece.offset + len(piece.data))
        self._readable.set()
        self._owner.progressed(self)
        if self.incoming.is_complete and not was_complete:
            self._owner.tell(self, Telling.COMPLETE)
            self._settle()

    def acknowledge(self, received: int, limit: int) -> None:
        """The peer has all below ``received`` and takes what is below ``limit``. ``IroshError`` (protocol-error)."""
        if self._write_error is not None:
            return
        checked_acknowledgement(received, min(self.sending.next, self.log.end))
        self.sending.limit = max(self.sending.limit, limit)
        self._acknowledge(received)
        self._owner.to_send(self)

    def told(self, what: Telling, code: int) -> None:
        """The peer says something of this stream. ``IroshError`` (protocol-error)."""
        if what is Telling.COMPLETE:
            if self._write_error is None:
                checked_acknowledgement(self.log.end + 1, self.sending.next)
                self._acknowledge(self.log.end + 1)
        else:
            self._end_writing(StreamReset(code))
        if what is Telling.ABORT and not self.incoming.is_complete:
            self._read_error = self._read_error or StreamReset(code)
            self._readable.set()
        self._settle()

    def fail(self, error: Exception) -> None:
        """End both ways with ``error``. What has arrived can still be read."""
        if not self.incoming.is_complete:
            self._read_error = self._read_error or error
        self._write_error = self._write_error or error
        self.log.drop()
        self._room.set()
        self._readable.set()

    def forgotten(self) -> None:
        """The session has forgotten it. What has arrived can still be read."""
        self._window.close()

    def _acknowledge(self, offset: int) -> None:
        self.sending.acknowledge(offset)
        if self.log.acknowledge(offset):
            self.wake_writers()
            self._settle()

    def _end_writing(self, error: StreamReset) -> None:
        if self._write_error is None and not self.log.settled:
            self._write_error = error
            self.log.drop()
            self._room.set()

    def _settle(self) -> None:
        """The session may forget the stream once neither way needs it."""
        reading = not self.incoming.is_complete and not self._stopped and self._read_error is None
        writing = self._write_error is None and not self.log.settled
        if not reading and not writing:
            self._owner.forget(self)

    # -- the lanes' side: see irosh.transport.session.lane.LaneUser

    def piece(self, flight: Flight[Carrier]) -> Piece | None:
        start = max(flight.start, self.log.acknowledged)
        if self._write_error is not None or start >= flight.stop:
            return None
        end = self.log.finished and flight.stop > self.log.end
        return Piece(start, self.log.read(start, flight.stop - end - start), end)

    def on_lane(self, flight: Flight[Carrier], position: int) -> None:
        self.sending.on_lane(flight, position)
        self.wake_writers()

    def tail(self, most: int) -> Piece | None:
        """See :class:`irosh.transport.session.tails.Tailed`."""
        end = self.log.finished and self.sending.next > self.log.end
        stop = min(self.sending.next, self.log.end)
        start = max(self.log.acknowledged, stop - most)
        if self._write_error is not None or (start >= stop and not end) or self.log.settled:
            return None
        return Piece(start, self.log.read(start, stop - start) if start < stop else b"", end)

    def withdrawn(self, flight: Flight[Carrier]) -> None:
        if (load := self._owner.load(flight.carrier)) is not None:
            self.sending.withdraw(flight, load)

    # -- reading

    async def read(self, limit: int = 65536) -> bytes:
        if self._early:
            data = bytes(self._early[:limit])
            del self._early[:limit]
            return data
        while True:
            if data := self.incoming.take(limit):
                if self._window.taken(self.incoming.taken):
                    self._owner.progressed(self)
                return data
            if self.incoming.is_complete:
                return b""
            if self._read_error is not None:
                raise self._read_error
            self._readable.clear()
            await self._readable.wait()

    async def read_exactly(self, size: int) -> bytes:
        while len(self._early) < size:
            early, self._early = self._early, bytearray()
            try:
                data = await self.read(max(size, LARGE_CHUNK))
            finally:
                self._early = early
            if not data:
                raise EOFError("the stream ended early")
            self._early += data
        data = bytes(self._early[:size])
        del self._early[:size]
        return data

    # -- writing

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._turn.locked() or not self._has_room or len(data) > LARGE_CHUNK:
            data = bytes(data)  # copied before the first wait
        async with self._turn:
            await self._check_writing()
            for begin in range(0, len(data), LARGE_CHUNK):
                await self._wait_room(torn=begin > 0)
                self.log.append(data[begin : begin + LARGE_CHUNK] if len(data) > LARGE_CHUNK else data)
                self._owner.to_send(self)

    async def _wait_room(self, *, torn: bool) -> None:
        try:
            while self._write_error is None and not self._has_room:
                self._room.clear()
                await self._room.wait()
        except asyncio.CancelledError:
            self._torn = torn
            raise
        if self._write_error is not None:
            raise self._write_error

    @property
    def _has_room(self) -> bool:
        return self.log.has_room and self.log.end - self.sending.next < MOST_UNSENT

    def wake_writers(self) -> None:
        """There may be room again."""
        if not self._room.is_set() and self._has_room:
            self._room.set()

    async def finish(self) -> None:
        async with self._turn:
            if self.log.finished and self._write_error is None:
                return
            await self._check_writing()
            self.log.finish()
            self._owner.to_send(self)

    # -- ending

    async def stop(self, code: int = 0) -> None:
        if self._stopped or self.incoming.is_complete or self._read_error is not None:
            return
        self._stopped = True
        self._early.clear()
        self.incoming.drop()
        self._read_error = StreamReset(code)
        self._readable.set()
        self._owner.tell(self, Telling.STOP, code)
        self._settle()

    async def abort(self, code: int = 0) -> None:
        if self._write_error is None or self._read_error is None:
            self._owner.tell(self, Telling.ABORT, code)
        self.fail(StreamReset(code))
        self._owner.forget(self)

    # -- splice

    async def splice(
        self, sock: socket.socket, counters: SpliceCounters, ready: Coroutine[Any, Any, None] | None = None
    ) -> Exception | None:
        copies = Copies(lambda: self._copy_up(sock, counters), lambda: self._copy_down(sock, counters))
        return await splice(self, sock, copies, ready)

    async def _copy_up(self, sock: socket.socket, counters: SpliceCounters) -> None:
        await socket_to_stream(sock, self, _Counting(counters))
        await self.finish()

    async def _copy_down(self, sock: socket.socket, counters: SpliceCounters) -> None:
        loop = asyncio.get_running_loop()
        while data := await self.read(LARGE_CHUNK):
            counters.received += len(data)
            await loop.sock_sendall(sock, data)
        end_writing(sock)


class _Counting:
    """Counts what a copy sends; to write is what holds it back."""

    def __init__(self, counters: SpliceCounters) -> None:
        self._counters = counters
        self.interrupt: Callable[[], None] = lambda: None

    def sending(self, data: memoryview) -> None:
        self._counters.sent += len(data)

    def may_send(self, wake: Callable[[], None]) -> bool:
        return True
