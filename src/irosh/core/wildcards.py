"""Matching with a wildcard for any number of items: characters of a text, or segments of a path. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def matches(pattern: Sequence[str], items: Sequence[str], star: str, same: Callable[[str, str], bool]) -> bool:
    """Whether ``items`` match ``pattern``, where ``star`` stands for any number of items.

    Only the last star met is ever tried again, so the time is at most the product of the lengths: a path made
    to be slow to match is not (a backtracking regular expression would be).
    """
    at = 0
    retry_pattern = -1
    retry_item = 0
    position = 0
    while position < len(items):
        if at < len(pattern) and pattern[at] == star:
            retry_pattern, retry_item = at, position
            at += 1
        elif at < len(pattern) and same(pattern[at], items[position]):
            at += 1
            position += 1
        elif retry_pattern >= 0:
            retry_item += 1
            at, position = retry_pattern + 1, retry_item
        else:
            return False
    return all(part == star for part in pattern[at:])
