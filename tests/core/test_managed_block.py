"""A block in somebody else's file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.managed_block import ManagedBlock

BLOCK = ManagedBlock("test block")
BEGIN, END = b"# >>> test block >>>\n", b"# <<< test block <<<\n"

foreign = st.binary(max_size=300).filter(lambda content: b"test block" not in content)


@given(foreign, st.binary(max_size=100).filter(lambda lines: b"test block" not in lines))
def test_what_is_put_in_can_be_taken_out_again(content: bytes, lines: bytes) -> None:
    changed = BLOCK.put(content, lines)
    assert changed.startswith(BEGIN + lines)
    assert BLOCK.put(changed, lines) == changed
    assert BLOCK.remove(changed) == content
    assert BLOCK.remove(content) == content


@given(foreign, foreign)
def test_a_block_that_was_moved_stays_there(before: bytes, after: bytes) -> None:
    before += b"\n"
    changed = BLOCK.put(before + BEGIN + b"old\n" + END + after, b"new\n")
    assert changed == before + BEGIN + b"new\n" + END + after


def test_several_blocks_become_one() -> None:
    content = b"a\n" + BEGIN + b"x\n" + END + b"b\n" + BEGIN + b"y\n" + END + b"c\n"
    assert BLOCK.put(content, b"z") == b"a\n" + BEGIN + b"z\n" + END + b"b\nc\n"
    assert BLOCK.remove(content) == b"a\nb\nc\n"


def test_lines_with_the_other_line_ending_are_known_too() -> None:
    content = (b"a\n" + BEGIN + b"x\n" + END + b"b\n").replace(b"\n", b"\r\n")
    assert BLOCK.remove(content) == b"a\r\nb\r\n"


@pytest.mark.parametrize("content", [BEGIN + b"Host x\n", BEGIN + b"Host x\n" + BEGIN + b"Host y\n" + END])
def test_a_block_without_an_end_is_not_guessed(content: bytes) -> None:
    for change in (BLOCK.remove, lambda content: BLOCK.put(content, b"x")):
        with pytest.raises(IroshError, match="has no") as failure:
            change(content)
        assert failure.value.code is ErrorCode.USAGE


def test_blocks_with_another_label_are_text_like_any_other() -> None:
    other = ManagedBlock("another block").put(b"text\n", b"lines")
    assert BLOCK.remove(BLOCK.put(other, b"x")) == other
