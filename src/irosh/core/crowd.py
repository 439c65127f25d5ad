"""Counting what each of many has open, so that none takes the places of the others. Pure."""

from __future__ import annotations

from collections import Counter


class Crowd:
    """At most ``most`` for each, and ``most_of_all`` together; None: as many as there are of them."""

    def __init__(self, most: int, most_of_all: int | None = None) -> None:
        self.most = most
        self._most_of_all = most_of_all
        self._open: Counter[str] = Counter()

    def enter(self, who: str) -> bool:
        """Whether there is a place for one more of ``who``, which then has it until :meth:`leave`."""
        if self._open[who] >= self.most:
            return False
        if self._most_of_all is not None and self._open.total() >= self._most_of_all:
            return False
        self._open[who] += 1
        return True

    def leave(self, who: str) -> None:
        """One of ``who`` has ended."""
        self._open[who] -= 1
        if not self._open[who]:
            del self._open[who]
