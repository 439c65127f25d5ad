"""The lines that have left a screen at its top. Pure, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

HISTORY_LINES = 2000
HISTORY_BYTES = 1024 * 1024


class Scrollback:
    """As many of them as fit both limits; the oldest go first."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines)

    def append(self, line: bytes) -> None:
        """``line`` has left the screen."""
        self._lines.append(line)
        self._bytes += len(line)
        while len(self._lines) > HISTORY_LINES or self._bytes > HISTORY_BYTES:
            self._bytes -= len(self._lines.popleft())

    def clear(self) -> None:
        """ED 3."""
        self._lines.clear()
        self._bytes = 0
