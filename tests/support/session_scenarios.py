"""Courses of two sessions and the connections between them, made by hypothesis and run in virtual time.

A :class:`Scenario` says what each side does with each stream and what happens to the network; :func:`play` runs it and
asserts what must hold whatever happens: no byte lost, doubled or reordered, nothing left, nothing hung.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import SpliceCounters, StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.lifetime import Credentials
from irosh.transport.session.session import Session
from irosh.transport.session.stream import SessionStream
from tests.support.memory_connection import Conditions, MemoryLink, MemoryStream, greet_over

NEAR, FAR = 0, 1
PLAYED_WITHIN, SETTLED_WITHIN = 6000.0, 60.0  # virtual seconds


@dataclass(frozen=True)
class Side:
    """What one side does with one stream: it writes ``chunks`` and then finishes, while it reads.

    ``reads``: bytes of one read. ``stop_after``: as many bytes are enough, the rest is refused. ``impatient``: a read
    is cancelled after so long, and begun again. ``hasty``: so is a write, and the stream closed. ``break_off``: after
    so long it aborts. ``spliced``: by a socket.
    """

    chunks: tuple[int, ...] = ()
    write_pause: float = 0.0
    reads: int = 65536
    read_pause: float = 0.0
    stop_after: int | None = None
    impatient: float | None = None
    hasty: float | None = None
    break_off: float | None = None
    spliced: bool = False


@dataclass(frozen=True)
class StreamPlan:
    """``opener``: NEAR or FAR, who opens it, after ``wait`` seconds. ``sides``: of the opener and of the acceptor."""

    opener: int
    wait: float
    sides: tuple[Side, Side]


@dataclass(frozen=True)
class Outage:
    """``after`` seconds the link is cut, which the ends notice as said (None: not by themselves); ``down`` seconds
    later one end has a new connection (``first``), after ``gap`` more the other. Not ``cut``: the new one replaces
    one that works. ``frames``: not after a time, but once so many have arrived by the link, or in the end after 3 s."""

    after: float
    cut: bool
    noticed: tuple[float | None, float | None]
    down: float
    gap: float
    first: int
    frames: int | None = None


@dataclass(frozen=True)
class Scenario:
    """All that is to happen."""

    streams: tuple[StreamPlan, ...]
    outages: tuple[Outage, ...]
    conditions: Conditions
    replay_buffer: int
    replay_total: int
    seed: int


@dataclass
class Outcome:
    """What one side of a stream has seen. ``ending``: of its reading."""

    got: bytearray = field(default_factory=bytearray)
    ending: str = ""
    finished: bool = False
    """It wrote all, and the end."""
    hasty: bool = False


class _Hasty(Exception):
    """A write was cancelled."""


class Play:
    """One course of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.settings = SessionSettings(
            keepalive=1.0,
            dead_after=3.0,
            replay_buffer=scenario.replay_buffer,
            replay_total=scenario.replay_total,
        )
        self.outcomes = [(Outcome(), Outcome()) for _ in scenario.streams]
        self._seeds = random.Random(scenario.seed)
        self._link = self._new_link()
        self._serving: set[asyncio.Task[None]] = set()

    def _new_link(self) -> MemoryLink:
        return MemoryLink(conditions=self.scenario.conditions, seed=self._seeds.getrandbits(32))

    async def run(self) -> None:
        async with (
            self._sessions() as sessions,
            asyncio.timeout(PLAYED_WITHIN) as deadline,
            asyncio.TaskGroup() as group,
        ):
            self._group = group
            accepting = [group.create_task(self._accept(session, side)) for side, session in enumerate(sessions)]
            network = group.create_task(self._network(sessions))
            opening = [
                group.create_task(self._open(sessions[plan.opener], index))
                for index, plan in enumerate(self.scenario.streams)
            ]
            await network
            keeping = group.create_task(self._keep(sessions))
            await asyncio.gather(*opening)
            loop = asyncio.get_running_loop()
            deadline.reschedule(loop.time() + PLAYED_WITHIN)
            while self._serving:
                await asyncio.sleep(0.25)
            settled_by = loop.time() + SETTLED_WITHIN
            while any(session.streams() or session._budget.used for session in sessions):
                assert not any(session.is_closed for session in sessions), [s.close_reason() for s in sessions]
                assert loop.time() < settled_by, f"never settled: {self._left(sessions)}"
                await asyncio.sleep(0.25)
            for task in (*accepting, keeping):
                task.cancel()
        self._verify()

    @staticmethod
    def _left(sessions: tuple[Session, Session]) -> list[object]:
        return [
            (
                session._budget.used,
                [
                    {
                        "number": stream.number,
                        "read_end": stream._read_end,
                        "stopped": stream._stopped,
                        "read_error": stream._read_error,
                        "write_error": stream._write_error,
                        "finished": stream.log.finished,
                        "acknowledged": stream.log.acknowledged,
                        "end": stream.log.end,
                        "attached": stream.is_attached,
                        "writer": stream._writer is not None,
                    }
                    for stream in session.streams()
                ],
            )
            for session in sessions
        ]

    @asynccontextmanager
    async def _sessions(self) -> AsyncIterator[tuple[Session, Session]]:
        controls = await greet_over(self._link)
        sessions = [
            Session(self._carrier(side, controls[side], self._link), self.settings, dialed=side == NEAR)
            for side in (NEAR, FAR)
        ]
        running = []
        for session in sessions:
            session.established(Credentials(b"s", b"t"), resume_for=600, replay_buffer=self.scenario.replay_buffer)
            running.append(asyncio.create_task(session.run()))
        try:
            yield sessions[0], sessions[1]
        finally:
            for session in sessions:
                session.close()
            await asyncio.gather(*running)

    def _carrier(self, side: int, control: MemoryStream, link: MemoryLink) -> Carrier:
        return Carrier((link.near, link.far)[side], control, self.settings)

    # -- the network

    async def _network(self, sessions: tuple[Session, Session]) -> None:
        second: asyncio.Task[None] | None = None
        for outage in self.scenario.outages:
            if outage.frames is None:
                await asyncio.sleep(outage.after)
                if outage.cut:
                    self._link.cut(*outage.noticed)
            else:
                self._link.cut_after(outage.frames, *outage.noticed)
                waited = 0
                while not self._link.is_cut and waited < 60:
                    await asyncio.sleep(0.05)
                    waited += 1
            await asyncio.sleep(outage.down)
            link = self._new_link()
            controls = await greet_over(link)
            if second is not None:
                await second
            self._link = link
            await sessions[outage.first].attach(self._carrier(outage.first, controls[outage.first], link))

            async def attach_second(
                outage: Outage = outage, link: MemoryLink = link, controls: tuple[MemoryStream, MemoryStream] = controls
            ) -> None:
                await asyncio.sleep(outage.gap)
                other = 1 - outage.first
                await sessions[other].attach(self._carrier(other, controls[other], link))

            second = self._group.create_task(attach_second())
        if second is not None:
            await second

    async def _keep(self, sessions: tuple[Session, Session]) -> None:
        """Renew what is still lost of itself."""
        while True:
            await asyncio.sleep(0.5)
            if any(session.is_down for session in sessions):
                link = self._link = self._new_link()
                controls = await greet_over(link)
                for side in (FAR, NEAR):
                    await sessions[side].attach(self._carrier(side, controls[side], link))

    # -- the streams

    async def _open(self, session: Session, index: int) -> None:
        plan = self.scenario.streams[index]
        await asyncio.sleep(plan.wait)
        stream = await session.open_stream()
        await self._use(stream, plan.sides[0], self.outcomes[index][0], payload(plan, index, 0))

    async def _accept(self, session: Session, side: int) -> None:
        while True:
            stream = await session.accept_stream()
            task = self._group.create_task(self._serve(stream, side))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, stream: SessionStream, side: int) -> None:
        try:
            index = (await stream.read_exactly(1))[0]
        except StreamReset:
            await stream.abort()
            return
        plan = self.scenario.streams[index]
        assert plan.opener != side
        outcome = self.outcomes[index][1]
        assert not outcome.ending and not outcome.got, "one stream arrived twice"
        outcome.got += bytes([index])
        await self._use(stream, plan.sides[1], outcome, payload(plan, index, 1))

    async def _use(self, stream: SessionStream, side: Side, outcome: Outcome, data: bytes) -> None:
        if side.spliced:
            await self._use_socket(stream, side, outcome, data)
            return
        work = [
            asyncio.create_task(part)
            for part in (self._write(stream, side, outcome, data), self._read(stream, side, outcome))
        ]
        try:
            async with asyncio.timeout(side.break_off):
                await asyncio.gather(*work)
        except TimeoutError:
            outcome.ending = outcome.ending or "broken off"
            await stream.abort(9)
            return
        except _Hasty:
            outcome.ending = outcome.ending or "given up"
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        await stream.close()

    async def _write(self, stream: SessionStream, side: Side, outcome: Outcome, data: bytes) -> None:
        try:
            offset = 0
            for size in side.chunks:
                async with asyncio.timeout(side.hasty):
                    await stream.write(data[offset : offset + size])
                offset += size
                if side.write_pause:
                    await asyncio.sleep(side.write_pause)
            await stream.finish()
            outcome.finished = True
        except StreamReset:
            return
        except TimeoutError:
            outcome.hasty = True
            raise _Hasty from None

    async def _read(self, stream: SessionStream, side: Side, outcome: Outcome) -> None:
        try:
            while side.stop_after is None or len(outcome.got) < side.stop_after:
                try:
                    async with asyncio.timeout(side.impatient):
                        chunk = await stream.read(side.reads)
                except TimeoutError:
                    continue
                if not chunk:
                    outcome.ending = "end"
                    return
                outcome.got += chunk
                if side.read_pause:
                    await asyncio.sleep(side.read_pause)
            outcome.ending = "stopped"
            await stream.stop(4)
        except StreamReset:
            outcome.ending = "reset"

    async def _use_socket(self, stream: SessionStream, side: Side, outcome: Outcome, data: bytes) -> None:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.setblocking(False)
        splicing = asyncio.create_task(stream.splice(theirs, SpliceCounters()))
        try:
            async with asyncio.timeout(side.break_off):
                await asyncio.gather(
                    self._write_socket(ours, side, outcome, data), self._read_socket(ours, side, outcome)
                )
        except TimeoutError:
            outcome.ending = outcome.ending or "broken off"
            splicing.cancel()
            await asyncio.gather(splicing, return_exceptions=True)
        finally:
            ours.close()
        if not splicing.cancelled():
            await splicing

    async def _write_socket(self, sock: socket.socket, side: Side, outcome: Outcome, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            offset = 0
            for size in side.chunks:
                await loop.sock_sendall(sock, data[offset : offset + size])
                offset += size
                if side.write_pause:
                    await asyncio.sleep(side.write_pause)
            sock.shutdown(socket.SHUT_WR)
            outcome.finished = True
        except OSError:
            return

    async def _read_socket(self, sock: socket.socket, side: Side, outcome: Outcome) -> None:
        loop = asyncio.get_running_loop()
        try:
            while chunk := await loop.sock_recv(sock, side.reads):
                outcome.got += chunk
                if side.read_pause:
                    await asyncio.sleep(side.read_pause)
            outcome.ending = "end"
        except OSError:
            outcome.ending = "reset"

    # -- what must be true

    def _verify(self) -> None:
        for index, plan in enumerate(self.scenario.streams):
            outcomes = self.outcomes[index]
            for reading in (0, 1):
                self._verify_way(plan, index, reading, outcomes)

    @staticmethod
    def _verify_way(plan: StreamPlan, index: int, reading: int, outcomes: tuple[Outcome, Outcome]) -> None:
        side, other = plan.sides[reading], plan.sides[1 - reading]
        seen, source = outcomes[reading], outcomes[1 - reading]
        sent = payload(plan, index, 1 - reading)
        where = f"stream {index}, read by the {('opener', 'acceptor')[reading]} ({seen.ending})"
        assert sent.startswith(seen.got), f"{where}: wrong bytes"
        # A socket of the Unix kind cannot pass on a reset: what a splice breaks off looks like an end.
        if source.hasty:
            # What was written half must not look whole.
            whole = [sum(other.chunks[:count]) for count in range(len(other.chunks))]
            assert seen.ending != "end" or side.spliced or len(seen.got) in whole, f"{where}: half a write"
            return
        if seen.ending == "end" and not side.spliced and not (other.spliced and other.break_off is not None):
            assert seen.got == sent, f"{where}: an end after {len(seen.got)} of {len(sent)} bytes"
            assert source.finished
        if seen.hasty or other.hasty is not None:
            return
        if side.break_off is not None or other.break_off is not None or side.stop_after is not None:
            return
        if other.stop_after is not None and (side.spliced or other.spliced):
            return  # a splice whose one way is refused ends the other too
        assert seen.ending == "end", f"{where}: no end"
        assert seen.got == sent, f"{where}: {len(seen.got)} of {len(sent)} bytes"


def payload(plan: StreamPlan, index: int, side: int) -> bytes:
    """What a side writes; the opener begins with the stream's index."""
    size = sum(plan.sides[side].chunks)
    data = random.Random(index * 2 + side).randbytes(size)
    return bytes([index]) + data[1:] if side == 0 and size else data


def play(scenario: Scenario) -> None:
    """Run it; ``AssertionError`` when something is wrong. To be called inside no loop."""
    from tests.support.virtual_time import run_virtually

    async def body() -> None:
        await Play(scenario).run()
        for _ in range(5):
            await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not left, f"tasks left: {left}"

    run_virtually(body())
