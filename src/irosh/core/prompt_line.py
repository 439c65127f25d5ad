"""What is typed at the prompt of ``~C``: which command, and what it is given. Pure.

As ssh reads it: ``-L8080:host:80``, ``-L 8080:host:80`` and ``L8080:host:80`` are the same. Other commands are words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORWARD = re.compile(r"-?(K?[LRD])\s*")
_HELP = ("?", "h", "-h", "-?")


@dataclass(frozen=True, slots=True)
class PromptLine:
    """A ``command`` by its name in the table, empty for an empty line; ``rest`` begins at ``column`` of the line."""

    command: str
    rest: str
    column: int


def parse_prompt_line(line: str) -> PromptLine:
    """Take a line apart. What the command is given is not looked at, and its name may be unknown."""
    begin = len(line) - len(line.lstrip())
    text = line.rstrip()[begin:]
    if text in _HELP:
        return PromptLine("help", "", len(line))
    if match := _FORWARD.match(text):
        return PromptLine(f"-{match[1]}", text[match.end() :], begin + match.end())
    word = re.match(r"\S*", text)
    assert word is not None
    behind = text[word.end() :]
    rest = behind.lstrip()
    return PromptLine(word[0], rest, begin + word.end() + len(behind) - len(rest))
