"""A program's screen is the same with a row reserved below it as on a terminal of one row less, whatever it writes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.faces.cli.reserved_row import ReservedRow
from irosh.services.shell.persistent.model import TerminalModel
from irosh.services.shell.persistent.screen import Screen
from tests.support.fuzzing import fuzz_runs

COLUMNS, ROWS = 12, 6
BAR = "the bar"

number = st.integers(0, 15)
text = st.text("abcdefghij .äöü€世界", max_size=15)
# Margins end where the program's screen does: what a cursor below them does depends on where the screen ends.
sequences = st.one_of(
    text.map(str.encode),
    st.sampled_from([b"\n", b"\r", b"\r\n", b"\b", b"\t", b"\x1bM", b"\x1bD", b"\x1bE"]),
    st.sampled_from([b"\x1b7", b"\x1b8", b"\x1b[s", b"\x1b[u", b"\x1bc", b"\x1b[!p", b"\x1b#8"]),
    st.sampled_from([b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?47h", b"\x1b[?47l", b"\x1b[?1048h", b"\x1b[?1048l"]),
    st.sampled_from([b"\x1b[r", b"\x1b[;r", b"\x1b[1;99r", b"\x1b[2r", b"\x1b[3;99r", b"\x1b[2;5r"]),
    st.sampled_from([b"\x1b[J", b"\x1b[0J", b"\x1b[1J", b"\x1b[2J", b"\x1b[K", b"\x1b[2K"]),
    st.sampled_from([b"\x1b[m", b"\x1b[1;31m", b"\x1b[7m", b"\x1b[38;5;99m", b"\x1b[48;2;1;2;3m"]),
    st.sampled_from([b"\x1b]2;a title\x07", b"\x1b]0;other\x1b\\", b"\x1bPq#0;2;0\x1b\\", b"\x1b[?7l", b"\x1b[?7h"]),
    st.tuples(number, number).map(lambda at: b"\x1b[%d;%dH" % at),
    st.tuples(st.sampled_from(b"ABCDEFGdLMPSTX@"), number).map(lambda move: b"\x1b[%d%c" % (move[1], move[0])),
)
# Restoring what was never saved is not the same on all terminals: either all is saved first, or nothing is restored.
_SAVING = (b"\x1b7", b"\x1b8", b"\x1b[s", b"\x1b[u", b"\x1b[?1048h", b"\x1b[?1048l", b"\x1bc", b"\x1b[!p")
saving = st.lists(sequences, max_size=40).map(
    lambda parts: b"\x1b7\x1b[?47h\x1b7\x1b[?47l" + b"".join(each for each in parts if each not in _SAVING[6:])
)
without = st.lists(sequences, max_size=40).map(
    lambda parts: b"".join(each for each in parts if each not in _SAVING[:6])
)
programs = saving | without
cuts = st.lists(st.integers(0, 400), max_size=12)


def rows(screen: Screen, count: int) -> list[list[object]]:
    return [list(screen.row(y)) for y in range(count)]


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in at), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


class Both:
    """The terminal with the row, and one of a row less on which the program runs alone."""

    def __init__(self) -> None:
        self.real, self.alone = TerminalModel(COLUMNS, ROWS), TerminalModel(COLUMNS, ROWS - 1)
        self.row = ReservedRow(COLUMNS, ROWS)
        self.real.add(b"what a shell\r\nprinted before$ ")
        self.real.add(self.row.begin())

    def write(self, data: bytes) -> None:
        self.alone.add(data)
        self.real.add(self.row.feed(data))

    def show(self, line: str) -> bool:
        self.real.add(self.row.show(line))
        return not self.row.stale

    def check(self) -> None:
        real, alone = self.real.catch_up(), self.alone.catch_up()
        assert rows(real, ROWS - 1) == rows(alone, ROWS - 1)
        assert (real.cursor.x, real.cursor.y) == (alone.cursor.x, alone.cursor.y)
        assert real.style == alone.style
        assert real.title == alone.title

    def bar(self) -> str:
        return "".join(cell.data for cell in self.real.catch_up().row(ROWS - 1)).rstrip()


@fuzz_runs(500)
@given(programs, cuts)
def test_whatever_a_program_writes_wherever_it_is_cut(program: bytes, at: list[int]) -> None:
    both = Both()
    both.check()
    for piece in pieces(program, at):
        both.write(piece)
        both.show(BAR)
    # What is written now shows whether cursor, margins and saved cursor are the program's own.
    both.write(b"\x1b\\.")
    both.check()
    both.write(b"\n\n." + b"\x1b8." * program.startswith(b"\x1b7"))
    both.check()
    both.write(b"\x1b[?6l\x1b[?69l\x1b[1;1H\x1b[!p")
    assert both.show(BAR)
    both.check()
    assert both.bar() == BAR


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_nonsense_passes_and_ends(chunks: list[bytes]) -> None:
    row = ReservedRow(COLUMNS, ROWS)
    for chunk in chunks:
        row.feed(chunk)
        row.show(BAR)


def test_a_character_is_not_cut_by_the_row() -> None:
    both = Both()
    euro = "€".encode()
    both.write(b"a" + euro[:2])
    assert not both.show(BAR)
    both.write(euro[2:])
    assert both.show(BAR)
    both.check()


def test_nothing_is_written_into_a_string_of_the_terminal() -> None:
    both = Both()
    both.write(b"\x1b]52;c;aGVs")
    assert not both.show(BAR)
    both.write(b"bG8=\x07")
    assert both.show(BAR)


@pytest.mark.parametrize("erasing", [b"\x1b[2J", b"\x1b[J", b"\x1bc", b"\x1b#8", b"\x1b[?1049h", b"\x1b[?1049l"])
def test_what_erases_the_row_is_noticed(erasing: bytes) -> None:
    both = Both()
    assert both.show(BAR)
    both.write(b"\x1b[?1049h" if erasing.endswith(b"l") else b"")
    assert both.show(BAR)
    both.write(erasing)
    assert both.row.stale
    assert both.show(BAR)
    assert both.bar() == BAR


def test_what_was_on_the_screen_is_in_the_scrollback() -> None:
    both = Both()
    assert [line.decode() for line in both.real.catch_up().history][:2] == ["what a shell", "printed befo"]


def test_the_row_is_given_back() -> None:
    both = Both()
    both.write(b"some\r\ntext")
    both.show(BAR)
    both.real.add(both.row.end())
    assert both.bar() == ""
    both.real.add(b"\n" * ROWS + b"x")
    assert "x" in both.bar(), "the whole terminal scrolls again"


@given(st.integers(4, 12), st.integers(8, 20), programs)
def test_after_another_size_the_row_is_the_last_one(new_rows: int, columns: int, program: bytes) -> None:
    both = Both()
    both.write(program + b"\x1b\\\x1b[!p\x1b[?7h")
    both.show(BAR)
    both.real.resize(columns, new_rows)
    both.real.add(both.row.resize(columns, new_rows))
    assert both.show(BAR)
    screen = both.real.catch_up()
    shown = ["".join(cell.data for cell in screen.row(y)).rstrip() for y in range(screen.lines)]
    assert shown[-1] == BAR[: columns - 1]
    assert screen.cursor.y < screen.lines - 1
