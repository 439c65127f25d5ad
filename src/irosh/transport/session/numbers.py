"""Which of the peer's streams have been seen, however they arrive. Pure."""

from __future__ import annotations

MAX_GAPS = 65_536


class SeenNumbers:
    """Numbers rise in steps of 2 from ``first``. Those missing for long are taken for seen, to bound the memory."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._next = first  # all below are seen
        self._beyond: set[int] = set()

    def may_come(self, number: int) -> bool:
        """Whether ``number`` can be one of the peer's that was not seen yet."""
        return number % 2 == self._first % 2 and number >= self._next and number not in self._beyond

    def add(self, number: int) -> bool:
        """Note ``number``; False if it was seen already, or cannot be one of the peer's."""
        if not self.may_come(number):
            return False
        self._beyond.add(number)
        if len(self._beyond) > MAX_GAPS:
            self._next = min(self._beyond)
        while self._next in self._beyond:
            self._beyond.remove(self._next)
            self._next += 2
        return True
