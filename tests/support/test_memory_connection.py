"""The connections in memory behave as the engine's do where the tests rely on it."""

from __future__ import annotations

import asyncio

import pytest

from irosh.transport.interfaces import ConnectionLost, StreamReset
from tests.support.memory_connection import Conditions, MemoryLink, MemoryStream, greet_over
from tests.support.virtual_time import Deadlock, run_virtually


async def _stream(link: MemoryLink) -> tuple[MemoryStream, MemoryStream]:
    near, far = await greet_over(link)
    return near, far


def test_bytes_and_ends_arrive_in_order() -> None:
    async def body() -> None:
        near, far = await _stream(MemoryLink(conditions=Conditions(delay=(0.0, 1.0), frame=3)))
        await near.write(b"0123456789")
        await near.finish()
        assert await far.read_exactly(10) == b"0123456789"
        assert await far.read() == b""
        await far.write(b"back")
        assert await near.read_exactly(4) == b"back"
        with pytest.raises(StreamReset):
            await near.write(b"after the end")

    run_virtually(body())


def test_flow_control_holds_the_writer_back_until_it_is_read() -> None:
    async def body() -> None:
        near, far = await _stream(MemoryLink(conditions=Conditions(window=8)))
        writing = asyncio.create_task(near.write(b"x" * 20))
        assert await far.read_exactly(7) == b"x" * 7
        assert not writing.done()
        assert await far.read_exactly(13) == b"x" * 13
        await writing

    run_virtually(body())


def test_a_reset_takes_what_was_under_way_with_it() -> None:
    async def body() -> None:
        near, far = await _stream(MemoryLink(conditions=Conditions(delay=(0.1, 0.1))))
        await near.write(b"lost")
        await near.abort(7)
        with pytest.raises(StreamReset) as reset:
            await far.read()
        assert reset.value.code == 7
        with pytest.raises(StreamReset):
            await far.write(b"nobody listens")

    run_virtually(body())


def test_after_a_cut_each_end_notices_in_its_own_time() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        link = MemoryLink(conditions=Conditions(delay=(0.1, 0.1)))
        near, far = await _stream(link)
        start = loop.time()
        await near.write(b"lost")
        link.cut(near=5.0, far=2.0)
        with pytest.raises(ConnectionLost):
            await far.read()
        assert loop.time() - start == pytest.approx(2)
        await near.write(b"into the void")
        with pytest.raises(ConnectionLost):
            await near.read()
        assert loop.time() - start == pytest.approx(5)

    run_virtually(body())


def test_closing_tells_the_peer_whether_it_was_meant_for_all() -> None:
    async def body() -> None:
        for moved in (True, False):
            link = MemoryLink()
            link.near.close(moved=moved)
            assert (await link.far.wait_closed()).deliberate is not moved

    run_virtually(body())


def test_a_wait_without_end_is_seen() -> None:
    async def body() -> None:
        _near, far = await _stream(MemoryLink())
        await far.read()

    with pytest.raises(Deadlock):
        run_virtually(body())
