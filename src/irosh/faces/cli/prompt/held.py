"""Output of the session that waits while the prompt has the screen."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

MAX_HELD = 1024 * 1024  # bytes; more than that is shown at once, above the prompt


class HeldOutput:
    """Keeps output in order; ``write`` gets a descriptor and bytes. For any thread; each byte is written once."""

    def __init__(self, write: Callable[[int, bytes], None]) -> None:
        self._write = write
        self._parts: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def add(self, descriptor: int, data: bytes) -> None:
        """Keep it."""
        with self._lock:
            self._parts.append((descriptor, data))
            self._size += len(data)

    def is_full(self) -> bool:
        """Whether it is time to show what there is."""
        return self._size > MAX_HELD

    def write_lines(self) -> bool:
        """Write all whole lines, or what there is without one; whether the cursor is at the beginning of a line."""
        with self._lock:
            rest: deque[tuple[int, bytes]] = deque()
            while self._parts and b"\n" not in self._parts[-1][1]:
                rest.appendleft(self._parts.pop())
            if not self._parts:
                self._parts = rest
                self._write_out()
                return False
            descriptor, data = self._parts.pop()
            whole, newline, begun = data.rpartition(b"\n")
            self._parts.append((descriptor, whole + newline))
            self._write_out()
            if begun:
                rest.appendleft((descriptor, begun))
            self._parts = rest
            self._size = sum(len(kept) for _, kept in rest)
            return True

    def write_out(self) -> None:
        """Write all that there is."""
        with self._lock:
            self._write_out()

    def _write_out(self) -> None:
        while self._parts:
            self._write(*self._parts.popleft())
        self._size = 0
