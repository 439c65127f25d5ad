"""A clock for what asks for the time."""

from __future__ import annotations


class Clock:
    """A clock that stands until it is moved: seconds."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
