"""A session with several carriers at once: streams in pieces over any of them, datagrams over the best."""

from __future__ import annotations

import asyncio
import logging

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.paths import Paths
from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import CarrierStream, ConnectionLost, Path, StreamReset, lost
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.datagram_copies import COPY_HEADER_SIZE, DatagramCopies
from irosh.transport.session.frames import START_SIZE, Control, Heard, Pong, Progress, Telling, Told, unpack_lane
from irosh.transport.session.lane import Lane
from irosh.transport.session.lane_frames import LaneParser
from irosh.transport.session.lifetime import CountedStream, LinkEvent, SessionLifetime
from irosh.transport.session.load import CarrierLoad
from irosh.transport.session.multi_stream import MultiStream
from irosh.transport.session.reassembly import WindowBudget
from irosh.transport.session.repeated import Repeated
from irosh.transport.small import SmallEvent, SmallQueue
from irosh.transport.splice import LARGE_CHUNK

log = logging.getLogger(__name__)

MAX_CARRIERS = 8
MAX_STREAMS = 16 * 1024
MAX_UNTOLD = 64 * 1024  # answers that the peer asks for and does not read
START_DEADLINE = 10.0
PROGRESS_DELAY = 0.01  # seconds, for what arrives to gather
PROGRESS_AFTER = 128 * 1024  # bytes
LOOK_EVERY = 0.05  # seconds, while something is on its way
MEASURE_EVERY = 0.1
STALLED_PING = 1.0
STALLED_END = 10.0  # after so long a carrier that stalls is given up, if there are others
NOT_SERVED = 3


class MultiSession(SessionLifetime):
    """``uses``: :attr:`Paths.ALL` or :attr:`Paths.REDUNDANT`, the same on both sides."""

    def __init__(self, first: Carrier, settings: SessionSettings, *, dialed: bool, uses: Paths) -> None:
        super().__init__(first, settings, dialed=dialed)
        self.uses = uses
        self._loads: dict[Carrier, CarrierLoad] = {first: CarrierLoad(self._clock())}
        self._streams: dict[int, MultiStream] = {}
        self._arrived: SmallQueue[MultiStream | None] = SmallQueue()
        self._parity = 0 if dialed else 1
        self._windows = WindowBudget(settings.replay_total)
        self._repeated = Repeated()
        self._copies = DatagramCopies()
        self._lanes: dict[tuple[int, Carrier], Lane] = {}
        self._lane_streams: dict[int, tuple[MultiStream, Carrier]] = {}
        self._next_lane = 0
        self._ready: dict[MultiStream, None] = {}  # with something to send
        self._active: dict[MultiStream, None] = {}  # with something to send, or on its way
        self._pumping = False
        self._due_streams: dict[int, MultiStream] = {}
        self._due_lanes: dict[int, int] = {}
        self._due_bytes = 0
        self._progress_timer: asyncio.TimerHandle | None = None
        self._busy = SmallEvent()

    # -- life

    def _start(self, group: asyncio.TaskGroup) -> None:
        for carrier in self._loads:
            group.create_task(self._serve(carrier))
        group.create_task(self._look())
        self._pump_soon()

    def carriers(self) -> list[Carrier]:
        return sorted(self._loads, key=lambda each: (self._loads[each].stalled, self._loads[each].rtt))

    def load(self, carrier: Carrier) -> CarrierLoad | None:
        """What is on its way over a carrier that lives."""
        return self._loads.get(carrier)

    def paths(self) -> list[Path]:
        # The oldest first, not the best: what is measured should not jump from one to another.
        return [path for carrier in self._loads for path in carrier.connection.paths()]

    async def attach(self, carrier: Carrier) -> None:
        if self._end is None:
            if self._loads:
                self._down_since = self._clock()
            for old in list(self._loads):
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
        self._loads[carrier] = CarrierLoad(self._clock())
        if self._limits is not None:
            carrier.connection.allow_streams(self._limits[0], window=self._limits[1])
        assert self._group is not None
        self._group.create_task(self._serve(carrier))
        self._measure()
        self._due_streams |= self._streams
        self._send_progress()
        self._pump_soon()
        if was_down:
            self._is_up()
            self.report(LinkEvent("resumed", gap=self.gap))

    @property
    def is_full(self) -> bool:
        """Whether it has as many carriers as it may."""
        return len(self._loads) >= MAX_CARRIERS

    def _release(self, reason: ConnectionLost) -> None:
        self._loads.clear()
        if self._progress_timer is not None:
            self._progress_timer.cancel()
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

    def datagram(self, data: bytes) -> None:
        if (payload := self._copies.unpack(data)) is not None:
            self.on_datagram(payload)

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
        self._active[stream] = self._ready[stream] = None
        self._pump_soon()

    def progressed(self, stream: MultiStream) -> None:
        self._due_streams[stream.number] = stream
        if self._progress_timer is None:
            self._progress_timer = asyncio.get_running_loop().call_later(PROGRESS_DELAY, self._send_progress)

    def tell(self, stream: MultiStream, what: Telling, code: int = 0) -> None:
        message = self._repeated.tell(stream.number, what, code, self._clock())
        self._busy.set()
        for carrier in self._loads:
            carrier.tell(message)

    def forget(self, stream: MultiStream) -> None:
        if self._streams.pop(stream.number, None) is None:
            return
        self.on_forgotten(stream)
        stream.forgotten()
        stream.sending.release(self._loads)
        self._ready.pop(stream, None)
        self._active.pop(stream, None)
        self._due_streams.pop(stream.number, None)
        for carrier in list(self._loads):
            self._drop_lane(stream.number, carrier)
        self._pump_soon()

    # -- sending

    def _pump_soon(self) -> None:
        if not self._pumping and self._group is not None and self._end is None:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Hand out what the carriers have room for, a chunk of each stream in turn."""
        self._pumping = False
        if self._end is not None:
            return
        now = self._clock()
        while self._ready:
            turn = list(self._ready)
            for stream in turn:
                flights = stream.sending.plan(stream.stop_at, self._loads, now)
                if not flights:
                    del self._ready[stream]
                for flight in flights:
                    self._lane(stream, flight.carrier).put(flight)
                stream.wake_writers()
        if any(load.outstanding for load in self._loads.values()):
            self._busy.set()

    def _lane(self, stream: MultiStream, carrier: Carrier) -> Lane:
        lane = self._lanes.get((stream.number, carrier))
        if lane is None:
            lane = Lane(self._next_lane, carrier, stream)
            self._next_lane += 1
            self._lanes[stream.number, carrier] = lane
            self._lane_streams[lane.number] = (stream, carrier)
            assert self._group is not None
            self._group.create_task(lane.run())
        return lane

    def _drop_lane(self, stream: int, carrier: Carrier) -> None:
        if (lane := self._lanes.pop((stream, carrier), None)) is not None:
            self._lane_streams.pop(lane.number, None)
            lane.finish()

    # -- what arrives

    async def arrive(self, carrier: Carrier, stream: CarrierStream) -> None:
        try:
            async with asyncio.timeout(START_DEADLINE):
                data = await stream.read(LARGE_CHUNK)
                while 0 < len(data) < START_SIZE and (more := await stream.read(LARGE_CHUNK)):
                    data += more
            if len(data) < START_SIZE:
                return
            number, lane = unpack_lane(data[:START_SIZE])
        except (IroshError, StreamReset, TimeoutError) as error:
            log.info("%s: a lane did not begin: %s", self.peer_id[:10], error)
            await stream.abort(NOT_SERVED)
            return
        if carrier not in self._loads:
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
        for carrier in self._loads:
            carrier.progress(streams, self._due_lanes)
        self._due_streams, self._due_lanes, self._due_bytes = {}, {}, 0

    def heard(self, carrier: Carrier, message: Control) -> None:
        if isinstance(message, Progress):
            self._heard_progress(message)
        elif isinstance(message, Told):
            if carrier.untold > MAX_UNTOLD:
                raise IroshError(ErrorCode.PROTOCOL, "the peer tells more than it listens to")
            carrier.tell(Heard(message.number))
            if self._repeated.is_new(message):
                self._told(message)
        elif isinstance(message, Heard):
            self._repeated.heard(message)
        elif isinstance(message, Pong) and (load := self._loads.get(carrier)) is not None:
            load.progressed(self._clock())
            self._all_ready()

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

    def _heard_progress(self, message: Progress) -> None:
        now = self._clock()
        for number, position in message.lanes:
            stream, carrier = self._lane_streams.get(number, (None, None))
            if stream is not None and carrier is not None and (load := self._loads.get(carrier)) is not None:
                stream.sending.lane_arrived(carrier, position, load, now)
        for number, received, limit in message.streams:
            if (stream := self._streams.get(number)) is not None:
                stream.acknowledge(received, limit)
        self._all_ready()

    def _all_ready(self) -> None:
        """Some carrier has room again."""
        self._ready |= self._active
        self._pump_soon()

    # -- the carriers

    async def _serve(self, carrier: Carrier) -> None:
        self._carrier_lost(carrier, await self._carried(carrier))

    def _carrier_lost(self, carrier: Carrier, reason: ConnectionLost) -> None:
        if carrier not in self._loads:
            return
        log.info("%s: a path is lost: %s", self.peer_id[:10], reason.message)
        self._let_go(carrier)
        if not carrier.connection.is_closed:
            carrier.connection.close(moved=True)
        if reason.deliberate:
            self.end(reason)
        elif not self._loads:
            self._is_down(reason)

    def _let_go(self, carrier: Carrier) -> None:
        del self._loads[carrier]
        self._past += carrier.connection.traffic()
        for stream in self._streams.values():
            stream.sending.lost(carrier)
            self._active[stream] = None
            self._drop_lane(stream.number, carrier)
        self._due_streams |= self._streams  # what was said on it may be lost
        self._send_progress()
        self._all_ready()

    async def _look(self) -> None:
        """Keep an eye on the carriers while something is on its way."""
        measured = pinged = 0.0
        while True:
            if not self._repeated and not any(load.outstanding for load in self._loads.values()):
                self._busy.clear()
            await self._busy.wait()
            now = self._clock()
            if now - measured >= MEASURE_EVERY:
                measured = now
                self._measure()
            stalled = [carrier for carrier, load in self._loads.items() if load.look(now)]
            for stream in list(self._active):
                if stream.sending.has_sent(stream.stop_at):
                    del self._active[stream]
                    continue
                for carrier in stalled:
                    stream.sending.stalled(carrier)
                stream.sending.look(stream.stop_at, self._loads, now)
            for message in self._repeated.due(now):
                for carrier in self._loads:
                    carrier.tell(message)
            if now - pinged >= STALLED_PING:
                pinged = now
                self._care_for_stalled(now)
            self._all_ready()
            await asyncio.sleep(LOOK_EVERY)

    def _care_for_stalled(self, now: float) -> None:
        for carrier, load in list(self._loads.items()):
            if not load.stalled:
                continue
            others = any(not other.stalled for other in self._loads.values())
            if others and now - load.stalled_since >= STALLED_END:
                self._carrier_lost(carrier, lost("nothing arrives by this path"))
            else:
                carrier.ping()

    def _measure(self) -> None:
        now = self._clock()
        for carrier, load in self._loads.items():
            selected = next((path for path in carrier.connection.paths() if path.selected), None)
            if selected is not None:
                load.measured(selected.rtt, now)


def _telling(message: Told) -> Telling:
    try:
        return Telling(message.what)
    except ValueError:
        raise IroshError(ErrorCode.PROTOCOL, "something unknown is told of a stream") from None
