"""The escape state machine: OpenSSH's rules, however the keys arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.escapes import (
    DEFAULT_ESCAPE,
    Escape,
    EscapeFilter,
    help_lines,
    parse_escape_character,
    shown_escape,
    shown_key,
)

Outcome = list[bytes | Escape]


def outcome(pieces: list[bytes], character: int | None = DEFAULT_ESCAPE) -> Outcome:
    """What is sent and asked for, in order, with neighbouring bytes joined."""
    filtering = EscapeFilter(character)
    found: Outcome = []
    for piece in pieces:
        while piece:
            typed = filtering.feed(piece)
            if typed.send:
                if found and isinstance(found[-1], bytes):
                    found[-1] += typed.send
                else:
                    found.append(typed.send)
            if typed.escape is not None:
                found.append(typed.escape)
            piece = typed.rest
    return found


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (b"~.", [Escape.TERMINATE]),
        (b"ls\r~.", [b"ls\r", Escape.TERMINATE]),
        (b"ls\n~?pwd\r", [b"ls\n", Escape.HELP, b"pwd\r"]),
        (b"a~.", [b"a~."]),
        (b"~~.", [b"~."]),
        (b"~~~.", [b"~~."]),
        (b"~x", [b"~x"]),
        (b"~\r~.", [b"~\r", Escape.TERMINATE]),
        (b"~?~?~.", [Escape.HELP, Escape.HELP, Escape.TERMINATE]),
        (b"\r~x~.", [b"\r~x~."]),
        (b"~\x1a", [Escape.SUSPEND]),
        (b"~", []),
        (b"cd ~/src\r~/bin/x\r", [b"cd ~/src\r~/bin/x\r"]),
        (b"~v~V~B~R~#~&~C", [*map(Escape, b"vVBR#&C")]),
    ],
)
def test_the_rules(keys: bytes, expected: Outcome) -> None:
    assert outcome([keys]) == expected


def test_a_pending_escape_character_waits_for_the_next_key() -> None:
    assert outcome([b"\r~", b"."]) == [b"\r", Escape.TERMINATE]
    assert outcome([b"\r", b"~", b"/", b"bin"]) == [b"\r~/bin"]


def test_another_character() -> None:
    assert outcome([b"~.\r%.\r"], ord("%")) == [b"~.\r", Escape.TERMINATE, b"\r"]


def test_a_character_that_is_a_key_too_is_that_key() -> None:
    assert outcome([b".."], ord(".")) == [Escape.TERMINATE]


def test_none_passes_all() -> None:
    assert outcome([b"~.\r~."], None) == [b"~.\r~."]


typing = st.lists(st.sampled_from([b"~", b"\r", b"\n", b".", b"?", b"a", b"C", b"\x1a", b"&", b"~~"]), max_size=40)


@given(typing, st.data(), st.sampled_from([DEFAULT_ESCAPE, ord("."), ord("a"), None]))
def test_any_splitting_gives_the_same(keys: list[bytes], data: st.DataObject, character: int | None) -> None:
    whole = b"".join(keys)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert outcome(pieces, character) == outcome([whole], character)


@given(st.binary())
def test_text_without_an_escape_character_passes_unchanged(keys: bytes) -> None:
    keys = keys.replace(b"~", b"-")
    assert outcome([keys]) == ([keys] if keys else [])


@given(st.binary(min_size=1))
def test_an_escape_character_inside_a_line_passes_unchanged(keys: bytes) -> None:
    line = b"x" + keys.replace(b"\r", b"~").replace(b"\n", b"~")
    assert outcome([line]) == [line]


@given(st.binary())
def test_nothing_is_invented_and_only_escapes_go(keys: bytes) -> None:
    """What is sent is what was typed without some of it, in order."""
    sent = b"".join(part for part in outcome([keys]) if isinstance(part, bytes))
    rest = iter(keys)
    assert all(key in rest for key in sent)


@given(st.binary())
def test_doubling_each_escape_character_that_counts_sends_the_text(text: bytes) -> None:
    typed = bytearray()
    begins = True
    for key in text:
        typed += b"~~" if begins and key == DEFAULT_ESCAPE else bytes([key])
        begins = key in b"\r\n"
    assert outcome([bytes(typed)]) == ([text] if text else [])


@pytest.mark.parametrize(
    ("text", "character"),
    [("~", 126), ("%", 37), ("none", None), ("^]", 29), ("^X", 24), ("^x", 24), ("^", 94), ("^@", 0)],
)
def test_the_option(text: str, character: int | None) -> None:
    assert parse_escape_character(text) == character


@pytest.mark.parametrize("text", ["", "ab", "^?", "^^^", "None", "é", "^é", "\x1b[2J"])
def test_a_bad_option_is_refused_and_shown_safely(text: str) -> None:
    with pytest.raises(IroshError) as caught:
        parse_escape_character(text)
    assert caught.value.code is ErrorCode.USAGE
    assert caught.value.message.isprintable()


def test_the_help_names_every_escape_once() -> None:
    lines = help_lines(DEFAULT_ESCAPE, {})
    keys = [line.split()[0].removeprefix("~") for line in lines if line.startswith(" ~")]
    assert sorted("/".join(keys).split("/")) == sorted([*(shown_key(each.value) for each in Escape), "~"])


def test_the_help_is_aligned_as_that_of_ssh() -> None:
    lines = help_lines(DEFAULT_ESCAPE, {})
    assert lines[0] == "Supported escape sequences:"
    assert " ~B   - send a BREAK to the remote system" in lines
    assert " ~^Z  - suspend irosh" in lines
    assert " ~~   - send the escape character by typing it twice" in lines
    assert lines[-1] == "(Note that escapes are only recognized immediately after newline.)"


def test_the_help_says_what_is_not_available() -> None:
    lines = help_lines(ord("%"), {Escape.QUIETER: "it is quiet already"})
    assert " %V/v - decrease/increase verbosity (not available: it is quiet already)" in lines
    assert sum("not available" in line for line in lines) == 1


@given(st.integers(0, 255))
def test_any_character_is_shown_safely(character: int) -> None:
    assert all(line.isprintable() for line in help_lines(character, {}))
    assert shown_escape(character, Escape.SUSPEND).endswith("^Z")
