"""Puts the bytes of a stream in order that arrive in pieces by several ways. Pure.

Pieces may come twice, overlap and overtake one another. What was there first stays: a byte is never replaced.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from irosh.core.errors import ErrorCode, IroshError


class Reassembly:
    """Offsets count the bytes of the stream from 0."""

    def __init__(self) -> None:
        self.received = 0
        """Bytes that have arrived without a gap."""
        self.taken = 0
        """Bytes that the reader has taken."""
        self.end: int | None = None
        """Where the stream ends, once that is known."""
        self._ready: deque[bytes] = deque()
        # Behind a gap: pieces that do not overlap, by their offsets.
        self._offsets: list[int] = []
        self._pieces: list[bytes] = []
        self._beyond = 0

    @property
    def is_complete(self) -> bool:
        """Whether all has arrived."""
        return self.received == self.end

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return self.received - self.taken + self._beyond

    @property
    def furthest(self) -> int:
        """All that has arrived is below."""
        return self._offsets[-1] + len(self._pieces[-1]) if self._offsets else self.received

    def add(self, offset: int, data: bytes) -> None:
        """A piece has arrived. ``IroshError`` (protocol-error) for bytes behind the end."""
        if self.end is not None and offset + len(data) > self.end:
            raise IroshError(ErrorCode.PROTOCOL, "bytes behind the end of a stream")
        if offset < self.received:
            data = data[self.received - offset :]
            offset = self.received
        if offset == self.received and not self._offsets:
            self._append(data)
            return
        self._keep(offset, data)
        while self._offsets and self._offsets[0] == self.received:
            del self._offsets[0]
            piece = self._pieces.pop(0)
            self._beyond -= len(piece)
            self._append(piece)

    def finish(self, offset: int) -> None:
        """The stream ends at ``offset``. ``IroshError`` (protocol-error) if it cannot."""
        if self.furthest > offset or self.end not in (None, offset):
            raise IroshError(ErrorCode.PROTOCOL, "the end of a stream contradicts what came before")
        self.end = offset

    def take(self, limit: int) -> bytes:
        """The next bytes in order, at most ``limit``; empty when none are there."""
        if not self._ready or limit <= 0:
            return b""
        if len(self._ready[0]) >= limit:
            data = self._ready.popleft()
            if len(data) > limit:
                self._ready.appendleft(data[limit:])
                data = data[:limit]
        else:
            parts = [self._ready.popleft()]
            size = len(parts[0])
            while self._ready and size + len(self._ready[0]) <= limit:
                parts.append(self._ready.popleft())
                size += len(parts[-1])
            data = b"".join(parts)
        self.taken += len(data)
        return data

    def drop(self) -> None:
        """Nobody will take what is held. Later pieces are counted, and dropped too if this is called again."""
        self._ready.clear()
        self.taken = self.received

    def _append(self, data: bytes) -> None:
        if data:
            self._ready.append(data)
            self.received += len(data)

    def _keep(self, offset: int, data: bytes) -> None:
        """Keep what of ``data`` fills gaps."""
        place = bisect_right(self._offsets, offset)
        if place:
            before = self._offsets[place - 1] + len(self._pieces[place - 1])
            if before > offset:
                data = data[before - offset :]
                offset = before
        while data:
            following = self._offsets[place] if place < len(self._offsets) else offset + len(data)
            part = data[: following - offset]
            if part:
                self._offsets.insert(place, offset)
                self._pieces.insert(place, part)
                self._beyond += len(part)
                place += 1
            if place >= len(self._offsets):
                return
            behind = following + len(self._pieces[place])
            data = data[behind - offset :]
            offset = behind
            place += 1


FIRST_WINDOW = 128 * 1024
"""Bytes that a sender may be ahead of the reader before it hears otherwise."""
LARGEST_WINDOW = 16 * 1024 * 1024


class Window:
    """How far the sender of one stream may go. It doubles while the reader keeps up, within a ``budget`` shared by
    all streams of the session."""

    def __init__(self, budget: WindowBudget) -> None:
        self.limit = FIRST_WINDOW
        self._size = FIRST_WINDOW
        self._budget = budget
        self._closed = False

    def taken(self, offset: int) -> bool:
        """The reader has taken all below ``offset``; whether the sender should now hear of a new :attr:`limit`."""
        if self._closed or self.limit - offset > self._size // 2:
            return False
        if self._size < LARGEST_WINDOW and self._budget.take(self._size):
            self._size *= 2
        self.limit = offset + self._size
        return True

    def close(self) -> None:
        """The stream has ended."""
        self._closed = True
        self._budget.left += self._size - FIRST_WINDOW
        self._size = FIRST_WINDOW


class WindowBudget:
    """Bytes that the streams of a session may add to their first windows."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, size: int) -> bool:
        """Whether ``size`` more bytes may be used; they then are."""
        if size > self.left:
            return False
        self.left -= size
        return True
