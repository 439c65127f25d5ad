r"""A line of words as shells split it: spaces between them, quotes and backslashes to have spaces in them. Pure.

``'…'`` takes all literally, in ``"…"`` a backslash goes before ``"`` and itself, elsewhere before anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SAFE = re.compile(r"[\w@%+=:,./~-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Word:
    """One word: its ``text``, where in the line it begins, and what is still ``open`` at its end: a quote or ``\\``."""

    text: str
    start: int
    open: str = ""


def split_words(line: str) -> list[Word]:
    """All words; only the last can be open. Each character of the line belongs to a word or is a space between."""
    words: list[Word] = []
    position = 0
    while position < len(line):
        if line[position].isspace():
            position += 1
            continue
        word, position = _word(line, position)
        words.append(word)
    return words


def unfinished_word(line: str) -> Word:
    """The word that the end of ``line`` is in, for completing it; an empty one behind a space."""
    words = split_words(line)
    if words and (words[-1].open or not line[-1].isspace() or _ends_escaped(line, words[-1])):
        return words[-1]
    return Word("", len(line))


def quote_word(text: str, quote: str = "") -> str:
    r"""``text`` so that it is one word: within the open ``quote``, or else with backslashes."""
    if quote == "'":
        return "'" + text.replace("'", "'\\''")
    if quote == '"':
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"')
    if not text:
        return "''"
    if "\n" in text:
        return "'" + text.replace("'", "'\\''") + "'"
    return text if _SAFE.fullmatch(text) else "".join(char if _SAFE.fullmatch(char) else f"\\{char}" for char in text)


def _word(line: str, start: int) -> tuple[Word, int]:
    text: list[str] = []
    quote = ""
    position = start
    while position < len(line):
        char = line[position]
        following = line[position + 1 : position + 2]
        if quote == "'":
            if char == "'":
                quote = ""
            else:
                text.append(char)
        elif char == "\\" and (not quote or following in ('"', "\\", "")):
            if not following:
                return Word("".join(text), start, quote or "\\"), len(line)
            text.append(following)
            position += 1
        elif quote:
            if char == quote:
                quote = ""
            else:
                text.append(char)
        elif char in "'\"":
            quote = char
        elif char.isspace():
            break
        else:
            text.append(char)
        position += 1
    return Word("".join(text), start, quote), position


def _ends_escaped(line: str, word: Word) -> bool:
    """Whether the space at the end of the line belongs to the last word, as in ``a\\ ``."""
    return _word(line, word.start)[1] == len(line)
