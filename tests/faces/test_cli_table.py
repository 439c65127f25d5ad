"""Columns for people."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from irosh.faces.cli.table import age, clock_time, fields, milliseconds, printable, table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    text = table(("NAME", "N", "LAST"), [("a", "100", "x"), ("longer name", "2", "")])
    assert text.splitlines() == ["NAME         N    LAST", "a            100  x", "longer name  2    "]


def test_fields_leave_out_what_has_no_value() -> None:
    assert fields([("id", "1"), ("missing", ""), ("state", "/x")]) == "id     1\nstate  /x"


@given(st.lists(st.tuples(st.text(), st.text()), max_size=4))
def test_no_cell_can_break_the_table(rows: list[tuple[str, str]]) -> None:
    lines = table(("A", "B"), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)
    "".join(lines).encode()


def test_what_is_printable_stays_as_it_is() -> None:
    assert printable("C:\\dir ünïcode") == "C:\\dir ünïcode"
    assert printable("a\x1b[2Jb\n") == "a\\x1b[2Jb\\n"


def test_ages_name_their_two_largest_units() -> None:
    now = time.time()
    # Half a second more, so that the seconds are not about to turn.
    shown = [age(now - seconds - 0.5) for seconds in (0, 59, 60, 3599, 3600, 3660, 86_400, 90_000, 20 * 86_400 + 3600)]
    assert shown == ["0s", "59s", "1m", "59m", "1h", "1h1m", "1d", "1d1h", "20d"]
    assert age(now + 100) == "0s"
    assert age(None) == "never"


@given(st.floats())
def test_any_time_that_a_peer_may_say_can_be_shown(timestamp: float) -> None:
    assert age(timestamp)
    assert clock_time(timestamp)


def test_times_and_round_trips() -> None:
    assert clock_time(None) == "never"
    assert clock_time(0.0) == time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(0))
    assert [milliseconds(value) for value in (None, 0.0, 1.0, 12.4)] == ["-", "<1 ms", "1 ms", "12 ms"]
