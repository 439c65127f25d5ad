"""When acknowledgements go: soon for much and for ends, rarely for a few bytes. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from irosh.transport.session.session import ACK_DELAY, ACK_LITTLE, ACK_RARELY
from irosh.transport.session.stream import SessionStream
from tests.support.memory_connection import MemoryLink, greet_over
from tests.support.nodes import CarrierEnd, session_of
from tests.support.virtual_time import run_virtually

MOMENT = 0.01  # seconds, in which what is sent arrives


@asynccontextmanager
async def _stream() -> AsyncIterator[tuple[SessionStream, SessionStream]]:
    """Both ends of a stream that is known to both."""
    link = MemoryLink()
    near, far = await greet_over(link)
    async with (
        session_of(CarrierEnd(link.near, near), None, dialed=True) as one,
        session_of(CarrierEnd(link.far, far), None, dialed=False) as other,
    ):
        ours = await one.open_stream()
        await ours.write(b"!")
        theirs = await other.accept_stream()
        assert await theirs.read() == b"!"
        await asyncio.sleep(ACK_RARELY + MOMENT)
        assert ours.log.kept == 0
        yield ours, theirs


def test_keys_wait_for_one_another() -> None:
    async def body() -> None:
        async with _stream() as (ours, theirs):
            for _ in range(3):
                await ours.write(b"k")
                await theirs.read()
                await asyncio.sleep(2 * ACK_DELAY)
            assert ours.log.kept == 3
            await asyncio.sleep(ACK_RARELY)
            assert ours.log.kept == 0

    run_virtually(body())


def test_more_than_a_little_does_not_wait_behind_a_key() -> None:
    async def body() -> None:
        async with _stream() as (ours, theirs):
            await ours.write(b"k")
            await theirs.read()
            await ours.write(bytes(ACK_LITTLE))
            await theirs.read_exactly(ACK_LITTLE)
            await asyncio.sleep(ACK_DELAY + MOMENT)
            assert ours.log.kept == 0

    run_virtually(body())


def test_an_end_does_not_wait_behind_a_key() -> None:
    async def body() -> None:
        async with _stream() as (ours, theirs):
            await ours.write(b"k")
            await theirs.read()
            await ours.finish()
            assert await theirs.read() == b""
            await asyncio.sleep(ACK_DELAY + MOMENT)
            assert ours.log.settled

    run_virtually(body())
