"""Output that waits: in order, each byte once, whole lines first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from irosh.faces.cli.prompt.held import MAX_HELD, HeldOutput

Parts = list[tuple[int, bytes]]

parts = st.lists(st.tuples(st.sampled_from([1, 2]), st.text("ab\n", max_size=5).map(str.encode)), max_size=8)


def joined(written: Parts) -> Parts:
    """With neighbours of one descriptor together."""
    whole: Parts = []
    for descriptor, data in written:
        if whole and whole[-1][0] == descriptor:
            whole[-1] = (descriptor, whole[-1][1] + data)
        elif data:
            whole.append((descriptor, data))
    return whole


@given(st.lists(parts, max_size=4))
def test_all_in_order(rounds: list[Parts]) -> None:
    written: Parts = []
    held = HeldOutput(lambda descriptor, data: written.append((descriptor, data)))
    for each in rounds:
        for descriptor, data in each:
            held.add(descriptor, data)
        at_line = held.write_lines()
        assert not at_line or written[-1][1].endswith(b"\n")
    held.write_out()
    assert joined(written) == joined([part for each in rounds for part in each])


def test_the_begun_line_stays() -> None:
    written: Parts = []
    held = HeldOutput(lambda descriptor, data: written.append((descriptor, data)))
    held.add(1, b"one\ntw")
    held.add(1, b"o")
    assert held.write_lines()
    assert written == [(1, b"one\n")]
    held.write_out()
    assert joined(written) == [(1, b"one\ntwo")]


def test_a_line_that_does_not_end_is_written_too() -> None:
    written: Parts = []
    held = HeldOutput(lambda descriptor, data: written.append((descriptor, data)))
    held.add(1, b"x" * (MAX_HELD + 1))
    assert held.is_full()
    assert not held.write_lines()
    assert not held.is_full()
    assert written == [(1, b"x" * (MAX_HELD + 1))]
