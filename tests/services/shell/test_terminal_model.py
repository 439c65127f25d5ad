"""The host's idea of the screen: against pyte's, and a repaint against what it was made from."""

from __future__ import annotations

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.services.shell.persistent.model import MOST, TerminalModel
from irosh.services.shell.persistent.repaint import repaint
from irosh.services.shell.persistent.screen import Screen
from irosh.services.shell.persistent.scrollback import HISTORY_LINES
from irosh.services.shell.persistent.sequences import QUERY, Tokenizer, WithoutQueries, lasting
from irosh.services.shell.persistent.undo import Settings

COLUMNS, ROWS = 20, 6


def model_of(*pieces: bytes, columns: int = COLUMNS, rows: int = ROWS) -> TerminalModel:
    """A model that has read ``pieces``."""
    model = TerminalModel(columns, rows)
    for piece in pieces:
        model.add(piece)
        model.catch_up()
    return model


def shown(screen: Screen) -> list[str]:
    """What can be read on the screen."""
    return ["".join(cell.data for cell in screen.row(y)).rstrip() for y in range(screen.lines)]


def state(screen: Screen) -> tuple[object, ...]:
    """All of a screen that a repaint has to bring back."""
    main = None if screen.main is None else [screen.main_row(y) for y in range(screen.lines)]
    saved = (0, 0) if screen.saved is None else (screen.saved.cursor.x, screen.saved.cursor.y)
    return (
        [screen.row(y) for y in range(screen.lines)],
        main,
        (screen.cursor.x, screen.cursor.y, screen.cursor.hidden, screen.style),
        screen.mode - {2026 << 5},
        screen.margins,
        (screen.charset, screen.g0_charset, screen.g1_charset),
        screen.tabstops,
        screen.extras,
        screen.title,
        saved,
    )


numbers = st.integers(0, 30)
text = st.text(st.sampled_from("ab cdé中文\u0301x"), min_size=1, max_size=30)
sequences = st.one_of(
    text,
    st.sampled_from(["\r", "\n", "\r\n", "\b", "\t", "\x0e", "\x0f"]),
    st.builds("\x1b[{}{}".format, numbers, st.sampled_from(list("@ABCDEFGIJKLMPSTXZ`adeb"))),
    st.builds("\x1b[{};{}H".format, numbers, numbers),
    st.builds("\x1b[{};{}r".format, st.integers(1, 6), st.integers(1, 6)),
    st.builds("\x1b[{}m".format, st.sampled_from(["", "1", "2", "31", "44", "38;5;200", "48;2;1;2;3", "7", "4;9"])),
    st.builds(
        "\x1b[?{}{}".format,
        st.sampled_from([1, 6, 7, 25, 47, 1000, 1002, 1006, 1047, 1049, 2004, 1004]),
        st.sampled_from("hl"),
    ),
    st.sampled_from(["\x1b7", "\x1b8", "\x1bD", "\x1bE", "\x1bM", "\x1b=", "\x1b>", "\x1b[4h", "\x1b[4l", "\x1bH"]),
    st.sampled_from(
        ["\x1b(0", "\x1b(B", "\x1b)0", "\x1b[5 q", "\x1b[!p", "\x1b[>4;2m", "\x1b[>1u", "\x1b]2;title\x07"]
    ),
    st.sampled_from(["\x1bP+q544e\x1b\\", "\x1b]8;;http://x\x1b\\", "\x1b[?2026$p", "\x1b[>c", "\x1b[c", "\x1bc"]),
)
outputs = st.lists(sequences, max_size=40).map("".join)


@given(outputs)
def test_a_repaint_makes_a_screen_like_the_one_it_was_made_from(output: str) -> None:
    original = model_of(output.encode()).screen
    copy = model_of(b"\x1b[?1000h\x1b[31mearlier\x1b[2;4r\x1b[?1049hmore", repaint(original, history=False)).screen
    assert state(copy) == state(original)


@given(outputs, st.integers(0, 200))
def test_it_does_not_matter_where_output_is_cut(output: str, cut: int) -> None:
    data = output.encode()
    assert state(model_of(data[:cut], data[cut:]).screen) == state(model_of(data).screen)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_do_no_harm(data: bytes) -> None:
    screen = model_of(data).screen
    assert 0 <= screen.cursor.x <= COLUMNS
    assert 0 <= screen.cursor.y < ROWS
    assert len(shown(screen)) == ROWS


plain = st.lists(
    st.one_of(
        st.text(st.sampled_from("abc xyz"), min_size=1, max_size=15),
        st.sampled_from(
            ["\r\n", "\r", "\b", "\t", "\x1b[H", "\x1b[2;3H", "\x1b[A", "\x1b[C", "\x1b[2K", "\x1b[1m", "\x1b[m"]
        ),
    ),
    max_size=60,
).map("".join)


@given(plain)
def test_what_pyte_knows_too_is_shown_as_pyte_does(output: str) -> None:
    stock = pyte.Screen(COLUMNS, ROWS)
    pyte.ByteStream(stock).feed(output.encode())
    screen = model_of(output.encode()).screen
    assert shown(screen) == [line.rstrip() for line in stock.display]
    assert (screen.cursor.x, screen.cursor.y) == (stock.cursor.x, stock.cursor.y)


def test_the_scrollback_is_painted_before_the_screen() -> None:
    model = model_of(b"".join(b"line %d\r\n" % number for number in range(40)))
    copy = model_of(model.repaint(history=True)).screen
    assert shown(copy) == shown(model.screen)
    assert [line.decode() for line in copy.history if line] == [f"line {number}" for number in range(35)]


def test_the_scrollback_is_bounded() -> None:
    model = model_of(*[b"x" * 19 + b"\r\n"] * (HISTORY_LINES + 500))
    assert len(model.screen.history) == HISTORY_LINES


def test_the_alternate_screen_leaves_the_main_one_alone() -> None:
    model = model_of(b"$ vim\r\n\x1b[?1049h\x1b[H\x1b[2Jtext\x1b[6;1Hstatus")
    assert shown(model.screen) == ["text", "", "", "", "", "status"]
    copy = model_of(model.repaint(history=True), b"\x1b[?1049l").screen
    assert shown(copy)[0] == "$ vim"
    assert (copy.cursor.x, copy.cursor.y) == (0, 1)


def test_a_wide_character_that_is_half_overwritten_goes() -> None:
    assert shown(model_of("中文\x1b[2Gx".encode()).screen)[0] == " x文"
    assert shown(model_of("中文\x1b[1Gx".encode()).screen)[0] == "x 文"


def test_colours_are_kept_as_they_were_chosen() -> None:
    painted = model_of(b"\x1b[38;5;208mA\x1b[48;2;1;2;3mB\x1b[0;2;95mC").repaint(history=False)
    assert b"38;5;208" in painted
    assert b"48;2;1;2;3" in painted
    assert b"\x1b[0;2;95m" in painted


def test_a_smaller_screen_keeps_the_line_with_the_cursor_and_remembers_the_others() -> None:
    model = model_of(b"1\r\n2\r\n3\r\n4\r\n5\r\n6")
    model.resize(COLUMNS, 3)
    assert shown(model.screen) == ["4", "5", "6"]
    assert list(model.screen.history) == [b"1", b"2", b"3"]
    assert model.screen.cursor.y == 2


class TestFlood:
    """More output than can be interpreted."""

    def test_little_waits_and_the_end_is_right(self) -> None:
        model = TerminalModel(COLUMNS, ROWS)
        for number in range(100_000):
            model.add(b"line %d of many\r\n" % number)
            assert model.behind <= MOST + 100
        model.add(b"$ ")
        assert shown(model.catch_up()) == [f"line {number} of many" for number in range(99_995, 100_000)] + ["$"]

    def test_modes_set_in_what_is_passed_over_still_count(self) -> None:
        model = TerminalModel(COLUMNS, ROWS)
        model.add(b"\x1b[?2004h\x1b[?1h\x1b=\x1b]2;flood\x07\x1b[?25l\x1b[32m\x1b(0")
        model.add(b"\x1b(B" + b"y\r\n" * 400_000)
        screen = model.catch_up()
        assert screen.has_mode(2004, private=True)
        assert screen.has_mode(1, private=True)
        assert screen.cursor.hidden
        assert screen.extras.keypad
        assert screen.title == "flood"
        assert shown(screen)[0] == "y"

    def test_an_editor_that_was_left_in_what_is_passed_over_is_left(self) -> None:
        model = model_of(b"\x1b[?1049h\x1b[Hediting")
        model.add(b"\x1b[?1049l" + b"y\r\n" * 400_000)
        assert model.catch_up().main is None


@given(st.lists(sequences, max_size=200).map("".join))
def test_what_lasts_is_short(output: str) -> None:
    kept = lasting(output.encode() * 20)
    assert len(kept) < 2000
    model = TerminalModel(COLUMNS, ROWS)
    model.add(kept)
    model.catch_up()


@pytest.mark.parametrize(
    "query",
    [b"\x1b[c", b"\x1b[>c", b"\x1b[>0c", b"\x1b[6n", b"\x1b[?6n", b"\x1b[5n", b"\x1b[>q", b"\x1b[?2026$p", b"\x1bZ",
     b"\x1b]11;?\x07", b"\x1b]4;1;?\x1b\\", b"\x1bP+q544e\x1b\\", b"\x1bP$qm\x1b\\", b"\x1b[?u", b"\x1b[18t"],
)  # fmt: skip
def test_queries_reach_one_terminal_only(query: bytes) -> None:
    assert QUERY.fullmatch(query)
    for cut in range(len(query)):
        guest = WithoutQueries()
        assert guest.filter(b"before" + query[:cut]) + guest.filter(query[cut:] + b"after") == b"beforeafter"


@pytest.mark.parametrize(
    "other", [b"\x1b[1n\x1b[31mred", b"\x1b[22;0;0t", b"\x1b]11;#112233\x07", b"\x1b[2 q", b"\x1b[?25h", b"\x1b[S"]
)
def test_what_is_no_query_passes(other: bytes) -> None:
    other = other.removeprefix(b"\x1b[1n")
    for cut in range(len(other)):
        guest = WithoutQueries()
        assert guest.filter(other[:cut]) + guest.filter(other[cut:] + b"end") == other + b"end"


@given(st.binary(max_size=300), st.integers(0, 300))
def test_the_tokenizer_keeps_little(data: bytes, cut: int) -> None:
    tokenizer = Tokenizer()
    assert list(tokenizer.feed(data[:cut])) is not None
    assert list(tokenizer.feed(data[cut:])) is not None


def test_leaving_in_the_middle_of_an_editor_undoes_what_it_set() -> None:
    settings = Settings()
    output = b"$ vim\r\n\x1b[?1049h\x1b[?2004h\x1b[?1h\x1b=\x1b[?25l\x1b[1;5rtext"
    for position in range(0, len(output), 5):
        settings.feed(output[position : position + 5])
    screen = model_of(output, settings.undo()).screen
    assert screen.main is None
    assert not screen.has_mode(2004, private=True)
    assert not screen.cursor.hidden
    assert not screen.extras.keypad
    assert screen.margins is None


def test_an_enquiry_reaches_one_terminal_only() -> None:
    assert WithoutQueries().filter(b"before\x05after") == b"beforeafter"


def test_leaving_a_plain_shell_changes_nothing() -> None:
    settings = Settings()
    settings.feed(b"\x1b[1mprompt\x1b[m $ ls\r\nfile\r\n")
    assert settings.undo() == b""
