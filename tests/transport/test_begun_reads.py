"""Reads by callback, of the engine's streams and by coroutines: bytes, ends and failures; and that they can be left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from irosh.transport.interfaces import CarrierStream, StreamReset, Told
from irosh.transport.reading import begin_read
from tests.support.nodes import DEADLINE, connected_pair

Begin = Callable[[CarrierStream, int, Told], Callable[[], object]]
WAYS = pytest.mark.parametrize("begin", [lambda s, limit, told: s.begin_read(limit, told), begin_read])


async def _read(begin: Begin, stream: CarrierStream, limit: int = 100) -> bytes | Exception:
    outcome: asyncio.Future[bytes | Exception] = asyncio.get_running_loop().create_future()
    begin(stream, limit, outcome.set_result)
    async with asyncio.timeout(DEADLINE):
        return await outcome


@asynccontextmanager
async def sent(data: bytes) -> AsyncIterator[tuple[CarrierStream, CarrierStream]]:
    """Both ends of a stream that has carried ``data``, which the receiver's end has not read."""
    async with connected_pair() as (near, far):
        sender = await near.open_stream()
        await sender.write(data)
        yield sender, await far.accept_stream()


@WAYS
def test_bytes_and_the_end_are_told(begin: Begin) -> None:
    async def body() -> None:
        async with sent(b"abcd") as (sender, receiver):
            assert await _read(begin, receiver, 3) == b"abc"
            assert await _read(begin, receiver) == b"d"
            waiting = asyncio.create_task(_read(begin, receiver))
            await asyncio.sleep(0)
            await sender.write(b"later")
            assert await waiting == b"later"
            await sender.finish()
            assert await _read(begin, receiver) == b""

    asyncio.run(body())


@WAYS
def test_a_failure_is_told_and_does_not_stay(begin: Begin) -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            sender = await near.open_stream()
            await sender.write(b"a")
            receiver = await far.accept_stream()
            assert await _read(begin, receiver) == b"a"
            await sender.abort(7)
            outcome = await _read(begin, receiver)
            assert isinstance(outcome, StreamReset) and outcome.code == 7
            other = await near.open_stream()
            await other.write(b"b")
            assert await _read(begin, await far.accept_stream()) == b"b"

    asyncio.run(body())


@WAYS
def test_who_has_left_a_read_is_told_nothing(begin: Begin) -> None:
    async def body() -> None:
        async with sent(b"a") as (sender, receiver):
            assert await _read(begin, receiver) == b"a"
            told: list[bytes | Exception] = []
            leave = begin(receiver, 100, told.append)
            await asyncio.sleep(0)
            leave()
            await sender.write(b"for the next one")
            assert await _read(begin, receiver) == b"for the next one"
            assert told == []

    asyncio.run(body())
