"""A session with several carriers at once: streams in pieces over any of them, datagrams over the best."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.paths import Paths
from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import CarrierStream, ConnectionLost, Path, StreamReset, lost
from irosh.transport.session.beginning import read_start
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.datagram_copies import (
    COPY_HEADER_SIZE,
    DatagramCopies,
    mark_tail,
    marked_tail,
)
from irosh.transport.session.dispatch import Dispatcher
from irosh.transport.session.frames import START_SIZE, Control, Heard, Pong, Progress, Telling, Told, unpack_lane
from irosh.transport.session.lane_frames import LaneParser
from irosh.transport.session.lifetime import CountedStream, LinkEvent, SessionLifetime
from irosh.transport.session.load import CarrierLoad
from irosh.transport.session.multi_stream import MultiStream
from irosh.transport.session.reassembly import WindowBudget
from irosh.transport.session.repeated import REPEAT_AFTER, Repeated
from irosh.transport.session.tails import Tails, unpack_tail
from irosh.transport.small import SmallQueue
from irosh.transport.splice import LARGE_CHUNK

log = logging.getLogger(__name__)

MAX_CARRIERS = 8
MAX_STREAMS = 16 * 1024
MAX_UNTOLD = 64 * 1024  # answers that the peer asks for and does not read
PROGRESS_DELAY = 0.02  # seconds, for what arrives to gather
PROGRESS_AFTER = 1024 * 1024  # bytes
NOT_SERVED = 3


class MultiSession(SessionLifetime):
    """``uses``: :attr:`Paths.ALL` or :attr:`Paths.REDUNDANT`, the same on both sides."""

    def __init__(self, first: Carrier, settings: SessionSettings, *, dialed: bool, uses: Paths) -> None:
        super().__init__(first, settings, dialed=dialed)
        self.uses = uses
        self._tails = Tails(self._send_tail, lambda: self.max_datagram_size)
        self._dispatcher = Dispatcher(self._given_up, self._tails.sent)
        self._dispatcher.add(first)
        self._streams: dict[int, MultiStream] = {}
        self._arrived: SmallQueue[MultiStream | None] = SmallQueue()
        self._parity = 0 if dialed else 1
        self._windows = WindowBudget(settings.replay_total)
        self._repeated = Repeated()
        self._copies = DatagramCopies()
        self._due_streams: dict[int, MultiStream] = {}
        self._due_lanes: dict[int, int] = {}
        self._due_bytes = 0
        self._progress_timer: asyncio.TimerHandle | None = None
        self._repeat_timer: asyncio.TimerHandle | None = None

    def share_memory(self, other: SessionLifetime) -> None:
        super().share_memory(other)
        if isinstance(other, MultiSession):
            self._windows = other._windows

    # -- life

    def _start(self, group: asyncio.TaskGroup) -> None:
        for carrier in self._dispatcher.loads:
            group.create_task(self._serve(carrier))
        self._dispatcher.start(group)

    def carriers(self) -> list[Carrier]:
        return self._dispatcher.best_first()

    def load(self, carrier: Carrier) -> CarrierLoad | None:
        """What is on its way over a carrier that lives."""
        return self._dispatcher.loads.get(carrier)

    def paths(self) -> list[Path]:
        # The oldest first, not the best: what is measured should not jump from one to another.
        return [path for carrier in self._dispatcher.loads for path in carrier.connection.paths()]

    async def attach(self, carrier: Carrier) -> None:
        if self._end is None:
            if not self.is_down:
                self._down_since = self._last_life()
            for old in self.carriers():
                self._let_go(old)
                old.connection.close(moved=True)
            self.reconnects += 1
        await self.join(carrier)

    async def join(self, carrier: Carrier) -> None:
        """Go on over ``carrier`` too."""
        if self._end is not None:
            carrier.connection.close(self._end)
            return
        was_down = self.is_down
        self._dispatcher.add(carrier)
        if self._limits is not None:
            carrier.connection.allow_streams(self._limits[0], window=self._limits[1])
        assert self._group is not None
        self._group.create_task(self._serve(carrier))
        self._due_streams |= self._streams
        self._send_progress()
        if was_down:
            self._is_up()
            self.report(LinkEvent("resumed", gap=self.gap))

    @property
    def is_full(self) -> bool:
        """Whether it has as many carriers as it may."""
        return len(self._dispatcher.loads) >= MAX_CARRIERS

    def _release(self, reason: ConnectionLost) -> None:
        self._dispatcher.close()
        self._tails.close()
        for timer in (self._progress_timer, self._repeat_timer):
            if timer is not None:
                timer.cancel()
        for stream in list(self._streams.values()):
            stream.fail(reason)
        self._streams.clear()
        self._arrived.put_nowait(None)

    # -- what it carries

    async def open_stream(self) -> MultiStream:
        await self._wait_up()
        return self._new_stream(next(self._numbers))

    async def accept_stream(self) -> MultiStream:
        stream = await self._arrived.get()
        if stream is None:
            self._arrived.put_nowait(None)
            raise self.close_reason()
        return stream

    def streams(self) -> list[MultiStream]:
        """Those that live."""
        return list(self._streams.values())

    def holds(self, stream: CountedStream) -> bool:
        return stream.number in self._streams

    @property
    def max_datagram_size(self) -> int:
        sizes = [carrier.connection.max_datagram_size for carrier in self._for_datagrams()]
        return max(0, min(sizes, default=0) - COPY_HEADER_SIZE)

    def send_datagram(self, data: bytes) -> bool:
        copy = self._copies.pack(data)
        return sum(carrier.connection.send_datagram(copy) for carrier in self._for_datagrams()) > 0

    def _send_tail(self, tail: bytes) -> None:
        for carrier in self._for_datagrams():
            carrier.connection.send_datagram(mark_tail(tail))

    def datagram(self, data: bytes) -> None:
        if (tail := marked_tail(data)) is not None:
            self._tail_arrived(tail)
        elif (payload := self._copies.unpack(data)) is not None:
            self.on_datagram(payload)

    def _tail_arrived(self, data: bytes) -> None:
        tail = unpack_tail(data)
        if tail is None or (stream := self._streams.get(tail[0])) is None:
            return
        try:
            stream.arrived(tail[1])
        except IroshError as error:
            log.info("%s: a tail is dropped: %s", self.peer_id[:10], error.message)

    def _for_datagrams(self) -> list[Carrier]:
        return self.carriers()[: 2 if self.uses is Paths.REDUNDANT else 1]

    def _new_stream(self, number: int) -> MultiStream:
        redundant = self.uses is Paths.REDUNDANT
        stream = MultiStream(
            self, number, self._budget, self._windows, ours=number % 2 == self._parity, redundant=redundant
        )
        self._streams[number] = stream
        return stream

    # -- for the streams: see irosh.transport.session.multi_stream.MultiStreamOwner

    def to_send(self, stream: MultiStream) -> None:
        self._dispatcher.to_send(stream)

    def progressed(self, stream: MultiStream) -> None:
        self._due_streams[stream.number] = stream
        if self._progress_timer is None:
            self._progress_timer = asyncio.get_running_loop().call_later(PROGRESS_DELAY, self._send_progress)

    def tell(self, stream: MultiStream, what: Telling, code: int = 0) -> None:
        if self._end is not None:
            return
        message = self._repeated.tell(stream.number, what, code, self._clock())
        for carrier in self._dispatcher.loads:
            carrier.tell(message)
        if self._repeat_timer is None:
            self._repeat_timer = asyncio.get_running_loop().call_later(REPEAT_AFTER, self._repeat)

    def _repeat(self) -> None:
        self._repeat_timer = None
        for message in self._repeated.due(self._clock()):
            for carrier in self._dispatcher.loads:
                carrier.tell(message)
        if self._repeated:
            self._repeat_timer = asyncio.get_running_loop().call_later(REPEAT_AFTER, self._repeat)

    def forget(self, stream: MultiStream) -> None:
        if self._streams.pop(stream.number, None) is None:
            return
        self.on_forgotten(stream)
        stream.forgotten()
        self._due_streams.pop(stream.number, None)
        self._dispatcher.forget(stream)

    # -- what arrives

    async def arrive(self, carrier: Carrier, stream: CarrierStream, known: Callable[[], None]) -> None:
        try:
            data = await read_start(stream, LARGE_CHUNK)
            if len(data) < START_SIZE:
                return
            number, lane = unpack_lane(data[:START_SIZE])
        except (IroshError, StreamReset, TimeoutError) as error:
            log.info("%s: a lane did not begin: %s", self.peer_id[:10], error)
            await stream.abort(NOT_SERVED)
            return
        if carrier not in self._dispatcher.loads:
            return
        assert self._group is not None
        self._group.create_task(self._read_lane(carrier, stream, number, lane, data))

    async def _read_lane(self, carrier: Carrier, raw: CarrierStream, number: int, lane: int, start: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None and not self._seen.add(number):
            await raw.abort()  # it has ended here
            return
        parser = LaneParser()
        position = START_SIZE
        data = start[START_SIZE:]
        try:
            if stream is None:
                stream = self._new_of_peer(number)
            while True:
                for piece in parser.feed(data):
                    stream.arrived(piece)
                position += len(data)
                self._lane_arrived(lane, position, len(data))
                if not (data := await raw.read(LARGE_CHUNK)):
                    return
        except (StreamReset, ConnectionLost):
            return
        except IroshError as violation:
            self._carrier_lost(carrier, self._broken(carrier, violation))

    def _lane_arrived(self, lane: int, position: int, size: int) -> None:
        self._due_lanes[lane] = position
        self._due_bytes += size
        if self._due_bytes >= PROGRESS_AFTER:
            self._send_progress()
        elif self._progress_timer is None:
            self._progress_timer = asyncio.get_running_loop().call_later(PROGRESS_DELAY, self._send_progress)

    def _send_progress(self) -> None:
        """By all carriers: one that has died is not known to be dead where nothing is sent."""
        if self._progress_timer is not None:
            self._progress_timer.cancel()
            self._progress_timer = None
        streams = {number: (stream.received, stream.limit) for number, stream in self._due_streams.items()}
        for carrier in self._dispatcher.loads:
            carrier.progress(streams, self._due_lanes)
        self._due_streams, self._due_lanes, self._due_bytes = {}, {}, 0

    def heard(self, carrier: Carrier, message: Control) -> None:
        if isinstance(message, Progress):
            self._dispatcher.arrived(message.lanes)
            for number, received, limit in message.streams:
                if (stream := self._streams.get(number)) is not None:
                    stream.acknowledge(received, limit)
        elif isinstance(message, Told):
            if carrier.untold > MAX_UNTOLD:
                raise IroshError(ErrorCode.PROTOCOL, "the peer tells more than it listens to")
            carrier.tell(Heard(message.number))
            if self._repeated.is_new(message):
                self._told(message)
        elif isinstance(message, Heard):
            self._repeated.heard(message)
        elif isinstance(message, Pong):
            self._dispatcher.answered(carrier)

    def _told(self, message: Told) -> None:
        what = _telling(message)
        stream = self._streams.get(message.stream)
        if stream is None and what is not Telling.COMPLETE and self._seen.add(message.stream):
            # It has overtaken the stream itself.
            if what is Telling.ABORT:
                return
            stream = self._new_of_peer(message.stream)
        if stream is not None:
            stream.told(what, message.code)

    def _new_of_peer(self, number: int) -> MultiStream:
        if len(self._streams) >= MAX_STREAMS:
            raise IroshError(ErrorCode.PROTOCOL, f"{MAX_STREAMS} streams of one session are enough")
        stream = self._new_stream(number)
        self._arrived.put_nowait(stream)
        return stream

    # -- the carriers

    async def _serve(self, carrier: Carrier) -> None:
        self._carrier_lost(carrier, await self._carried(carrier))

    def _carrier_lost(self, carrier: Carrier, reason: ConnectionLost) -> None:
        if carrier not in self._dispatcher.loads:
            return
        log.info("%s: a path is lost: %s", self.peer_id[:10], reason.message)
        self._let_go(carrier)
        if not carrier.connection.is_closed:
            carrier.connection.close(moved=True)
        if reason.deliberate:
            self.end(reason)
        elif not self._dispatcher.loads:
            self._is_down(reason)

    def _let_go(self, carrier: Carrier) -> None:
        self._dispatcher.remove(carrier, self._streams.values())
        self._past += carrier.connection.traffic()
        self._due_streams |= self._streams  # what was said on it may be lost
        self._send_progress()

    def _given_up(self, carrier: Carrier) -> None:
        self._carrier_lost(carrier, lost("nothing arrives by this path"))


def _telling(message: Told) -> Telling:
    try:
        return Telling(message.what)
    except ValueError:
        raise IroshError(ErrorCode.PROTOCOL, "something unknown is told of a stream") from None
