"""Both ends of a stream in pieces, in a model of a network that loses carriers and answers: no byte wrong, no end
without all of them."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from irosh.transport.session.frames import START_SIZE
from irosh.transport.session.lane_frames import LaneParser, Piece, pack_piece
from irosh.transport.session.load import CarrierLoad
from irosh.transport.session.reassembly import FIRST_WINDOW, Reassembly, Window, WindowBudget
from irosh.transport.session.replay import ReplayBudget, ReplayLog
from irosh.transport.session.sending import CHUNK, Flight, Sending
from tests.support.fuzzing import fuzz_runs


@dataclass(eq=False)
class Way:
    """A carrier with one lane on it: bytes arrive in order, in any parts, if it lives."""

    load: CarrierLoad
    parser: LaneParser = field(default_factory=LaneParser)
    queue: deque[Flight[Way]] = field(default_factory=deque)
    wire: bytearray = field(default_factory=bytearray)
    written: int = START_SIZE
    arrived: int = START_SIZE
    stuck: bool = False


class Model:
    """One direction of one stream."""

    def __init__(self, seed: int, *, redundant: bool) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.data = self.random.randbytes(self.random.choice((0, 1, 5_000, 200_000, 700_000)))
        self.written = 0
        self.log = ReplayLog(ReplayBudget(self.random.choice((64 * 1024, 1 << 20)), 1 << 22))
        self.sending: Sending[Way] = Sending(FIRST_WINDOW, redundant=redundant)
        self.incoming = Reassembly()
        self.window = Window(WindowBudget(1 << 22))
        self.got = bytearray()
        self.ways: list[Way] = []

    @property
    def loads(self) -> dict[Way, CarrierLoad]:
        return {way: way.load for way in self.ways}

    @property
    def is_done(self) -> bool:
        return self.log.settled

    def write(self) -> None:
        if self.written < len(self.data) and self.log.has_room:
            size = self.random.choice((1, 100, CHUNK, 3 * CHUNK))
            self.log.append(self.data[self.written : self.written + size])
            self.written = min(len(self.data), self.written + size)
        elif self.written == len(self.data) and not self.log.finished:
            self.log.finish()

    def plan(self) -> None:
        while flights := self.sending.plan(self.log.end + self.log.finished, self.loads, self.now):
            for flight in flights:
                flight.carrier.queue.append(flight)

    def write_lanes(self) -> None:
        for way in self.ways:
            while way.queue and self.random.random() < 0.9:
                flight = way.queue.popleft()
                start = max(flight.start, self.log.acknowledged)
                if start >= flight.stop:
                    self.sending.withdraw(flight, way.load)
                    continue
                end = self.log.finished and flight.stop > self.log.end
                wire = pack_piece(Piece(start, self.log.read(start, flight.stop - end - start), end))
                way.written += len(wire)
                self.sending.on_lane(flight, way.written)
                way.wire += wire

    def deliver(self) -> None:
        if not self.ways or (way := self.random.choice(self.ways)).stuck:
            return
        size = self.random.choice((1, 1000, CHUNK, 1 << 20))
        part = bytes(way.wire[:size])
        del way.wire[:size]
        for piece in way.parser.feed(part):
            assert piece.offset + len(piece.data) <= self.window.limit
            self.incoming.add(piece.offset, piece.data)
            if piece.end:
                self.incoming.finish(piece.offset + len(piece.data))
        way.arrived += len(part)

    def read(self) -> None:
        self.got += self.incoming.take(self.random.choice((1, 10_000, 1 << 20)))
        self.window.taken(self.incoming.taken)

    def acknowledge(self) -> None:
        for way in self.ways:
            self.sending.lane_arrived(way, way.arrived, way.load, self.now)
        self.sending.limit = max(self.sending.limit, self.window.limit)
        offset = self.incoming.received + self.incoming.is_complete
        self.sending.acknowledge(offset)
        self.log.acknowledge(offset)

    def join(self) -> None:
        if len(self.ways) < 4:
            self.ways.append(Way(CarrierLoad(self.now)))

    def lose(self) -> None:
        if self.ways:
            way = self.ways.pop(self.random.randrange(len(self.ways)))
            self.sending.lost(way)

    def stick(self) -> None:
        if self.ways:
            way = self.random.choice(self.ways)
            way.stuck = not way.stuck

    def look(self) -> None:
        for way in self.ways:
            way.load.measured(self.random.choice((0.01, 0.05, 0.2)), self.now)
            if way.load.look(self.now):
                self.sending.stalled(way)
        self.sending.look(self.log.end + self.log.finished, self.loads, self.now)

    def step(self, *, calm: bool = False) -> None:
        self.now += self.random.choice((0.001, 0.02, 0.2))
        events = [self.write, self.plan, self.write_lanes, self.deliver, self.deliver, self.read, self.acknowledge]
        weights = [4, 6, 6, 8, 8, 4, 4]
        if not calm:
            events += [self.join, self.lose, self.stick, self.look]
            weights += [1, 1, 1, 1]
        self.random.choices(events, weights)[0]()
        self.check()

    def check(self) -> None:
        assert self.got == self.data[: len(self.got)]
        for way in self.ways:
            assert way.load.outstanding >= 0

    def run(self) -> None:
        self.join()
        for _ in range(self.random.choice((50, 300))):
            self.step()
        # From now on the network is kind: everything must get there, however it began.
        self.join()
        for way in self.ways:
            way.stuck = False
        steps = 0
        while not self.is_done or len(self.got) < len(self.data):
            for event in (self.write, self.look, self.plan, self.write_lanes, *[self.deliver] * 4, self.read):
                event()
            self.acknowledge()
            self.now += 0.05
            for way in self.ways:
                way.load.progressed(self.now)  # as a pong does
            self.check()
            steps += 1
            assert steps < 5000, "it does not come to an end"
        assert self.got == self.data


@fuzz_runs(150)
@given(st.integers(0, 1 << 64), st.booleans())
def test_no_byte_is_wrong_and_all_arrive(seed: int, redundant: bool) -> None:
    Model(seed, redundant=redundant).run()
