"""The unacknowledged end of a stream goes by datagrams too, where redundancy is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.paths import Paths
from irosh.core.session_settings import SessionSettings
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.datagram_copies import DatagramCopies, mark_tail, marked_tail
from irosh.transport.session.lane_frames import Piece
from irosh.transport.session.lifetime import Credentials
from irosh.transport.session.multi_session import MultiSession
from irosh.transport.session.tails import MOST, pack_tail, unpack_tail
from tests.support.memory_connection import Conditions, MemoryLink, greet_over
from tests.support.virtual_time import run_virtually

SETTINGS = SessionSettings()
HELD_BACK = 0.12
"""Seconds that the carrier's streams take, as if a packet before were lost again and again."""


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.binary(max_size=MOST), st.booleans())
def test_what_is_packed_is_unpacked(stream: int, offset: int, data: bytes, end: bool) -> None:
    piece = Piece(offset, data, end)
    assert unpack_tail(pack_tail(stream, piece)) == ((stream, piece) if data or end else None)


@given(st.binary(max_size=64))
def test_whatever_else_is_none(data: bytes) -> None:
    tail = unpack_tail(data)
    assert tail is None or pack_tail(*tail) == data
    assert marked_tail(mark_tail(data)) == data
    assert marked_tail(DatagramCopies().pack(data)) is None
    assert DatagramCopies().unpack(mark_tail(data)) is None


@asynccontextmanager
async def sessions(uses: Paths, conditions: Conditions) -> AsyncIterator[tuple[MultiSession, MultiSession]]:
    """Two ends with one carrier."""
    link = MemoryLink(conditions=conditions)
    ends = []
    async with asyncio.TaskGroup() as group:
        for connection, control, dialed in zip(
            (link.near, link.far), await greet_over(link), (True, False), strict=True
        ):
            session = MultiSession(Carrier(connection, control, SETTINGS), SETTINGS, dialed=dialed, uses=uses)
            session.established(Credentials(b"s", b"t"), resume_for=600, replay_buffer=SETTINGS.replay_buffer)
            group.create_task(session.run())
            ends.append(session)
        yield ends[0], ends[1]
        for end in ends:
            end.close()


@pytest.mark.parametrize(("uses", "longest"), [(Paths.REDUNDANT, 0.05), (Paths.ALL, 2 * HELD_BACK)])
def test_keys_do_not_wait_for_what_is_held_back(uses: Paths, longest: float) -> None:
    async def body() -> None:
        clock = asyncio.get_running_loop().time
        conditions = Conditions(delay=(HELD_BACK, HELD_BACK), datagram_delay=(0.02, 0.02))
        async with sessions(uses, conditions) as (near, far):
            stream = await near.open_stream()
            await stream.write(b"$")
            remote = await far.accept_stream()
            assert await remote.read() == b"$"
            waited = []
            for key in b"abcdefghij":
                typed = clock()
                await stream.write(bytes([key]))
                assert await remote.read() == bytes([key])
                waited.append(clock() - typed)
            assert max(waited) < longest, waited
            assert uses is Paths.REDUNDANT or min(waited) >= HELD_BACK
            await stream.finish()
            assert await remote.read() == b""

    run_virtually(body())


def test_bulk_is_not_sent_twice() -> None:
    async def body() -> None:
        conditions = Conditions(delay=(0.01, 0.01), window=1 << 20)
        async with sessions(Paths.REDUNDANT, conditions) as (near, far):
            stream = await near.open_stream()
            data = bytes(range(256)) * 8192
            writing = asyncio.ensure_future(stream.write(data))
            remote = await far.accept_stream()
            assert await remote.read_exactly(len(data)) == data
            await writing
            sent = near.traffic().bytes_sent
            assert sent < 1.5 * len(data), sent

    run_virtually(body())


def test_a_tail_that_may_not_be_is_dropped() -> None:
    async def body() -> None:
        async with sessions(Paths.REDUNDANT, Conditions()) as (near, far):
            stream = await near.open_stream()
            await stream.write(b"before")
            remote = await far.accept_stream()
            assert await remote.read() == b"before"
            for tail in (
                pack_tail(stream.number, Piece(1 << 62, b"beyond what is allowed")),
                pack_tail(stream.number, Piece(2, b"", end=True)),
                pack_tail(1 << 60, Piece(0, b"of no stream")),
                b"\x01",
            ):
                far.datagram(mark_tail(tail))
            await stream.write(b"after")
            await stream.finish()
            assert await remote.read_exactly(5) == b"after"
            assert await remote.read() == b""

    run_virtually(body())
