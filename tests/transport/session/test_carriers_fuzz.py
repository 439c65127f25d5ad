"""Sessions with several carriers, whole, over connections in memory and in virtual time: carriers are cut, noticed late
or not at all, and replaced; streams are read slowly, stopped and aborted. No byte is wrong, and all comes to an end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from irosh.core.paths import Paths
from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.lifetime import Credentials
from irosh.transport.session.multi_session import MultiSession
from irosh.transport.session.multi_stream import MultiStream
from tests.support.fuzzing import fuzz_runs
from tests.support.memory_connection import Conditions, MemoryLink, greet_over
from tests.support.virtual_time import run_virtually

SETTINGS = SessionSettings(keepalive=2.0, dead_after=5.0, resume_for=600.0, replay_buffer=256 * 1024)
DEADLINE = 900.0  # of virtual time


class Course:
    """One run. Each stream carries bytes both ways that follow from its number."""

    def __init__(self, seed: int, uses: Paths) -> None:
        self.random = random.Random(seed)
        self.uses = uses
        self.links: list[MemoryLink] = []
        self.ends: list[MultiSession] = []

    async def run(self) -> None:
        async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
            first = self.new_link()
            near, far = await greet_over(first)
            for connection, control, dialed in ((first.near, near, True), (first.far, far, False)):
                session = MultiSession(Carrier(connection, control, SETTINGS), SETTINGS, dialed=dialed, uses=self.uses)
                session.established(Credentials(b"s", b"t"), resume_for=600, replay_buffer=SETTINGS.replay_buffer)
                group.create_task(session.run())
                self.ends.append(session)
            accepting = [group.create_task(self.accept(end, group)) for end in self.ends]
            chaos = group.create_task(self.chaos())
            async with asyncio.TaskGroup() as streams:
                for number in range(self.random.randint(1, 5)):
                    streams.create_task(self.use(await self.random.choice(self.ends).open_stream(), number))
                await chaos
            while any(end.streams() for end in self.ends):
                await asyncio.sleep(0.1)
            for task in accepting:
                task.cancel()
            for end in self.ends:
                end.close()

    def new_link(self) -> MemoryLink:
        slowest = self.random.choice((0.0, 0.01, 0.2))
        link = MemoryLink(conditions=Conditions(delay=(0.0, slowest)), seed=self.random.randrange(1 << 32))
        self.links.append(link)
        return link

    async def chaos(self) -> None:
        """Carriers come and go, and at last there is one that stays."""
        for _ in range(self.random.randint(0, 8)):
            await asyncio.sleep(self.random.choice((0.0, 0.01, 0.1, 1.0, 10.0)))
            living = [link for link in self.links if not link.is_cut]
            if living and self.random.random() < 0.5:
                delays = (0.0, 0.01, 1.0, None)
                self.random.choice(living).cut(self.random.choice(delays), self.random.choice(delays))
            elif len(living) < 4:
                await self.join()
        await self.join()

    async def join(self) -> None:
        link = self.new_link()
        near, far = await greet_over(link)
        begin_anew = self.random.random() < 0.2
        for end, connection, control in zip(self.ends, (link.near, link.far), (near, far), strict=True):
            carrier = Carrier(connection, control, SETTINGS)
            await (end.attach(carrier) if begin_anew else end.join(carrier))

    async def accept(self, end: MultiSession, group: asyncio.TaskGroup) -> None:
        while True:
            stream = await end.accept_stream()
            group.create_task(self.answer(stream))

    async def use(self, stream: MultiStream, number: int) -> None:
        """As the opener: says how much each side sends, and whether somebody breaks off."""
        up, down = (self.random.choice((0, 1, 1000, 100_000, 600_000)) for _ in range(2))
        manner = self.random.choice((0, 0, 0, 1, 2))
        await stream.write(bytes([number, manner]) + up.to_bytes(4) + down.to_bytes(4))
        await self.carry(stream, number, manner, sends=up, receives=down)

    async def answer(self, stream: MultiStream) -> None:
        try:
            head = await stream.read_exactly(10)
        except (StreamReset, EOFError):
            await stream.abort()
            return
        number, manner = head[0], head[1]
        up, down = int.from_bytes(head[2:6]), int.from_bytes(head[6:])
        await self.carry(stream, number, -manner, sends=down, receives=up)

    async def carry(self, stream: MultiStream, number: int, manner: int, *, sends: int, receives: int) -> None:
        works: list[Coroutine[Any, Any, None]] = [
            self.send(stream, content(number, sends, own=stream.ours), hurt=manner != 0),
            self.receive(stream, content(number, receives, own=not stream.ours), hurt=manner != 0),
        ]
        if manner == 1:  # the opener breaks off
            works.append(self.break_off(stream))
        await asyncio.gather(*works)
        if manner == 2:
            await stream.close()

    async def send(self, stream: MultiStream, data: bytes, *, hurt: bool) -> None:
        try:
            while data:
                size = self.random.choice((1, 100, 70_000, 300_000))
                await stream.write(data[:size])
                data = data[size:]
                if self.random.random() < 0.2:
                    await asyncio.sleep(self.random.choice((0.0, 0.01, 0.5)))
            await stream.finish()
        except StreamReset:
            assert hurt

    async def receive(self, stream: MultiStream, wanted: bytes, *, hurt: bool) -> None:
        got = bytearray()
        try:
            while data := await stream.read(self.random.choice((1, 1000, 100_000))):
                got += data
                assert got == wanted[: len(got)]
                if self.random.random() < 0.01:
                    await asyncio.sleep(self.random.choice((0.0, 0.01, 0.5)))
            assert got == wanted
        except StreamReset:
            assert hurt

    async def break_off(self, stream: MultiStream) -> None:
        await asyncio.sleep(self.random.choice((0.0, 0.01, 0.3)))
        await stream.abort(1)


def content(number: int, size: int, *, own: bool) -> bytes:
    return random.Random(number * 2 + own).randbytes(size)


@fuzz_runs(40)
@given(st.integers(0, 1 << 64), st.sampled_from([Paths.ALL, Paths.REDUNDANT]))
def test_whatever_happens_to_its_carriers(seed: int, uses: Paths) -> None:
    run_virtually(Course(seed, uses).run())
