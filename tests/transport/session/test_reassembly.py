"""Pieces in any order, twice or overlapping, become the stream they were made of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import IroshError
from irosh.transport.session.lane_frames import LaneParser, Piece, pack_piece
from irosh.transport.session.reassembly import FIRST_WINDOW, LARGEST_WINDOW, Reassembly, Window, WindowBudget
from tests.support.fuzzing import fuzz_runs

spans = st.tuples(st.integers(0, 300), st.integers(1, 80))


@fuzz_runs(300)
@given(st.binary(min_size=1, max_size=300), st.lists(spans, max_size=40), st.lists(st.integers(1, 100)))
def test_any_pieces_in_any_order(data: bytes, cuts: list[tuple[int, int]], takes: list[int]) -> None:
    reassembly = Reassembly()
    taken = b""
    seen: set[int] = set()
    limits = iter(takes)
    for start, size in cuts:
        piece = data[start : start + size]
        if not piece:
            continue
        reassembly.add(start, piece)
        seen.update(range(start, start + len(piece)))
        first_missing = next(number for number in range(len(data) + 1) if number not in seen)
        assert reassembly.received == first_missing
        assert reassembly.held == len(seen) - reassembly.taken
        taken += reassembly.take(next(limits, 0))
    reassembly.add(0, data)
    reassembly.finish(len(data))
    assert reassembly.is_complete
    while more := reassembly.take(7):
        taken += more
    assert taken == data
    assert reassembly.held == 0


def test_what_was_there_first_stays() -> None:
    reassembly = Reassembly()
    reassembly.add(2, b"cd")
    reassembly.add(0, b"XXXX!")
    assert reassembly.take(9) == b"XXcd!"


@pytest.mark.parametrize("end", [3, 5])
def test_an_end_that_contradicts(end: int) -> None:
    reassembly = Reassembly()
    reassembly.add(0, b"abcd")
    if end > 4:
        reassembly.finish(4)
    with pytest.raises(IroshError):
        reassembly.finish(end)


def test_bytes_behind_the_end() -> None:
    reassembly = Reassembly()
    reassembly.finish(4)
    with pytest.raises(IroshError):
        reassembly.add(3, b"ab")


@given(
    st.lists(st.tuples(st.integers(0, 1 << 40), st.binary(max_size=50), st.booleans()), max_size=10),
    st.lists(st.integers(1, 40)),
)
def test_a_lane_in_any_parts(pieces: list[tuple[int, bytes, bool]], cuts: list[int]) -> None:
    sent = [Piece(offset, data, end) for offset, data, end in pieces if data or end]
    wire = b"".join(map(pack_piece, sent))
    parser = LaneParser()
    got: list[Piece] = []
    for size in [*cuts, len(wire)]:
        got += parser.feed(wire[:size])
        wire = wire[size:]
    assert flat(got) == flat(sent)


def flat(pieces: list[Piece]) -> list[tuple[int, int]]:
    """Each byte with its offset; an end is byte -1."""
    return [
        (piece.offset + number, byte)
        for piece in pieces
        for number, byte in enumerate([*piece.data, *([-1] if piece.end else [])])
    ]


@given(st.binary(max_size=200))
def test_a_lane_of_noise_is_an_error_at_worst(noise: bytes) -> None:
    parser = LaneParser()
    try:
        for piece in parser.feed(noise):
            assert piece.data or piece.end
    except IroshError:
        pass


def test_windows_double_within_their_budget() -> None:
    budget = WindowBudget(3 * FIRST_WINDOW)
    window = Window(budget)
    offset = 0
    for _ in range(20):
        offset = window.limit
        assert window.taken(offset)
    assert window.limit - offset == 4 * FIRST_WINDOW
    assert budget.left == 0
    window.close()
    assert budget.left == 3 * FIRST_WINDOW
    large = Window(WindowBudget(1 << 40))
    for _ in range(20):
        large.taken(large.limit)
    assert large.limit - (large.limit - LARGEST_WINDOW) == LARGEST_WINDOW
