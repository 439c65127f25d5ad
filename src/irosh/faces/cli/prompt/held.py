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

    @property
    def full(self) -> bool:
        """Whether it is time to show what there is."""
        return self._size > MAX_HELD

    def write_out(self) -> bytes:
        """Write all that there is; returns its last byte, if any."""
        last = b""
        with self._lock:
            while self._parts:
                descriptor, data = self._parts.popleft()
                self._size -= len(data)
                self._write(descriptor, data)
                last = data[-1:] or last
        return last
