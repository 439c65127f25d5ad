"""Splitting a line into words, quoting them again, and finding the one that is being typed."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.words import Word, quote_word, split_words, unfinished_word


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("   ", []),
        ("a  b", [Word("a", 0), Word("b", 3)]),
        (r"a\ b c", [Word("a b", 0), Word("c", 5)]),
        ("'a b'c", [Word("a bc", 0)]),
        ('"a \\"b\\" \\c"', [Word('a "b" \\c', 0)]),
        ("''", [Word("", 0)]),
        ("a 'b c", [Word("a", 0), Word("b c", 2, "'")]),
        ('a "b', [Word("a", 0), Word("b", 2, '"')]),
        ("a\\", [Word("a", 0, "\\")]),
    ],
)
def test_splitting(line: str, words: list[Word]) -> None:
    assert split_words(line) == words


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", Word("", 0)),
        ("put ", Word("", 4)),
        ("put a", Word("a", 4)),
        (r"put a\ ", Word("a ", 4)),
        ("put 'a ", Word("a ", 4, "'")),
        ("put a\\", Word("a", 4, "\\")),
    ],
)
def test_the_word_being_typed(line: str, word: Word) -> None:
    assert unfinished_word(line) == word


@given(st.lists(st.text()))
def test_quoted_words_are_split_as_they_were(words: list[str]) -> None:
    assert [word.text for word in split_words(" ".join(map(quote_word, words)))] == words


@given(st.text(st.characters(exclude_characters="\0")), st.sampled_from("'\""))
def test_quoting_within_an_open_quote(text: str, quote: str) -> None:
    assert unfinished_word(f"put {quote_word(text, quote)}") == Word(text, 4, quote)


@given(st.text(alphabet="ab '\"\\", max_size=12))
def test_the_words_are_those_of_the_shell(line: str) -> None:
    try:
        expected = shlex.split(line)
    except ValueError:
        assert split_words(line)[-1].open
    else:
        assert [word.text for word in split_words(line)] == expected


@given(st.text())
def test_any_line_is_split(line: str) -> None:
    words = split_words(line)
    assert not any(word.open for word in words[:-1])
    assert unfinished_word(line).start <= len(line)
