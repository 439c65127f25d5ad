"""Hands out what the streams of a session have to send to the lanes of its carriers, and watches that it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from irosh.transport.session.carrier import Carrier
from irosh.transport.session.lane import Lane
from irosh.transport.session.load import CarrierLoad
from irosh.transport.session.multi_stream import MultiStream

LOOK_EVERY = 0.05  # seconds, while something is on its way
MEASURE_EVERY = 0.1
STALLED_PING = 1.0
STALLED_END = 10.0  # after so long a carrier that stalls is given up, if there are others


class Dispatcher:
    """``given_up`` is called with a carrier by which nothing has arrived for long, while there are others; ``small``
    with a stream of which an amount goes out that is worth sending more than once."""

    def __init__(self, given_up: Callable[[Carrier], None], small: Callable[[MultiStream], None]) -> None:
        self.loads: dict[Carrier, CarrierLoad] = {}
        """Of the carriers that live, the oldest first."""
        self._given_up = given_up
        self._small = small
        self._clock = asyncio.get_running_loop().time
        self._group: asyncio.TaskGroup | None = None
        self._lanes: dict[tuple[int, Carrier], Lane] = {}
        self._lane_streams: dict[int, tuple[MultiStream, Carrier]] = {}
        self._next_lane = 0
        self._ready: dict[MultiStream, None] = {}  # with something to send
        self._active: dict[MultiStream, None] = {}  # with something to send, or on its way
        self._pumping = False
        self._busy = asyncio.Event()

    def start(self, group: asyncio.TaskGroup) -> None:
        """``group`` owns the lanes from now on."""
        self._group = group
        group.create_task(self._look())
        self._pump_soon()

    def best_first(self) -> list[Carrier]:
        """The carriers: those that work before those that stall, by their round trips."""
        return sorted(self.loads, key=lambda each: (self.loads[each].stalled, self.loads[each].rtt))

    def add(self, carrier: Carrier) -> None:
        """One more carrier."""
        self.loads[carrier] = CarrierLoad(self._clock())
        self._measure()
        self._all_ready()

    def remove(self, carrier: Carrier, streams: Iterable[MultiStream]) -> None:
        """``carrier`` is gone; what ``streams`` had on it goes again by others."""
        del self.loads[carrier]
        for stream in streams:
            stream.sending.lost(carrier)
            self._active[stream] = None
            self._drop_lane(stream.number, carrier)
        self._all_ready()

    def to_send(self, stream: MultiStream) -> None:
        """``stream`` has something to send."""
        self._active[stream] = self._ready[stream] = None
        self._pump_soon()

    def forget(self, stream: MultiStream) -> None:
        """``stream`` has ended."""
        stream.sending.release(self.loads)
        self._ready.pop(stream, None)
        self._active.pop(stream, None)
        for carrier in self.loads:
            self._drop_lane(stream.number, carrier)
        self._all_ready()

    def arrived(self, lanes: Iterable[tuple[int, int]]) -> None:
        """The peer has of each lane what is before the position."""
        now = self._clock()
        for number, position in lanes:
            stream, carrier = self._lane_streams.get(number, (None, None))
            if stream is not None and carrier is not None and (load := self.loads.get(carrier)) is not None:
                stream.sending.lane_arrived(carrier, position, load, now)
        self._all_ready()

    def answered(self, carrier: Carrier) -> None:
        """The peer gives a sign of life on ``carrier``."""
        if (load := self.loads.get(carrier)) is not None:
            load.progressed(self._clock())
            self._all_ready()

    def close(self) -> None:
        """The session has ended."""
        self._group = None
        self.loads.clear()

    # -- handing out

    def _all_ready(self) -> None:
        """Some carrier has room again."""
        self._ready |= self._active
        self._pump_soon()

    def _pump_soon(self) -> None:
        if not self._pumping and self._group is not None:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """A chunk of each stream in turn, while the carriers have room."""
        self._pumping = False
        now = self._clock()
        while self._ready and self._group is not None:
            for stream in list(self._ready):
                flights = stream.sending.plan(stream.stop_at, self.loads, now)
                if not flights:
                    del self._ready[stream]
                for flight in flights:
                    self._lane(self._group, stream, flight.carrier).put(flight)
                if flights and stream.sending.is_small:
                    self._small(stream)
                stream.wake_writers()
        if any(load.outstanding for load in self.loads.values()):
            self._busy.set()

    def _lane(self, group: asyncio.TaskGroup, stream: MultiStream, carrier: Carrier) -> Lane:
        lane = self._lanes.get((stream.number, carrier))
        if lane is None:
            lane = Lane(self._next_lane, carrier, stream)
            self._next_lane += 1
            self._lanes[stream.number, carrier] = lane
            self._lane_streams[lane.number] = (stream, carrier)
            group.create_task(lane.run())
        return lane

    def _drop_lane(self, stream: int, carrier: Carrier) -> None:
        if (lane := self._lanes.pop((stream, carrier), None)) is not None:
            self._lane_streams.pop(lane.number, None)
            lane.finish()

    # -- watching

    async def _look(self) -> None:
        measured = pinged = 0.0
        while True:
            if not any(load.outstanding for load in self.loads.values()):
                self._busy.clear()
            await self._busy.wait()
            now = self._clock()
            if now - measured >= MEASURE_EVERY:
                measured = now
                self._measure()
            self._look_at_streams(now)
            if now - pinged >= STALLED_PING:
                pinged = now
                self._care_for_stalled(now)
            self._all_ready()
            await asyncio.sleep(LOOK_EVERY)

    def _look_at_streams(self, now: float) -> None:
        stalled = [carrier for carrier, load in self.loads.items() if load.look(now)]
        if not self._works():
            stalled = []  # there is no other way for what is on theirs
        for stream in list(self._active):
            if stream.sending.has_sent(stream.stop_at):
                del self._active[stream]
                continue
            for carrier in stalled:
                stream.sending.stalled(carrier)
            stream.sending.look(stream.stop_at, self.loads, now)

    def _care_for_stalled(self, now: float) -> None:
        for carrier, load in list(self.loads.items()):
            if load.stalled and self._works() and now - load.stalled_since >= STALLED_END:
                self._given_up(carrier)
            elif load.stalled:
                carrier.ping()

    def _works(self) -> bool:
        return any(not load.stalled for load in self.loads.values())

    def _measure(self) -> None:
        now = self._clock()
        for carrier, load in self.loads.items():
            # An engine may select one path for all connections with a peer: then the others have none that is.
            paths = sorted(carrier.connection.paths(), key=lambda path: not path.selected)
            if paths:
                load.measured(paths[0].rtt, now)
