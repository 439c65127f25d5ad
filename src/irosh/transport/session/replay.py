"""What one stream has sent and its peer has not acknowledged, kept to be sent again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.session.pacing import Pacing

_SMALL = 4096  # chunks below are put together, so that typing does not make a chunk of each key
_LARGE = 256 * 1024  # of this size are the chunks of a transfer that goes at full speed
_spare: list[bytearray] = []
"""Large chunks that were acknowledged, for all logs of the process to fill again: for fresh memory the system would
have to provide and clear each page, which takes longer than the copy."""
_MOST_SPARE = 16
ALWAYS = 64 * 1024
"""Bytes that a stream may keep even when its session keeps as much as it may."""


@dataclass
class ReplayBudget:
    """Bytes kept by all streams of a session. One stream keeps at most ``per_stream``, soft by one chunk."""

    per_stream: int
    per_session: int
    used: int = 0


class ReplayLog:
    """Offsets count the bytes of the stream from 0; the end of the stream counts as one more."""

    def __init__(self, budget: ReplayBudget) -> None:
        self._budget = budget
        self._chunks: list[bytearray] = []
        self._start = 0  # offset of the first chunk
        self.acknowledged = 0
        self.end = 0
        """Bytes written so far."""
        self.finished = False
        self.pacing: Pacing | None = None
        """Bounds what is kept below what the budget allows."""

    @property
    def kept(self) -> int:
        """Bytes that are not acknowledged."""
        return self.end - min(self.acknowledged, self.end)

    @property
    def has_room(self) -> bool:
        """Whether more may be appended now."""
        budget = self._budget
        kept = self.kept
        if self.pacing is not None and kept >= self.pacing.most:
            return False
        return kept < min(ALWAYS, budget.per_stream) or (kept < budget.per_stream and budget.used < budget.per_session)

    @property
    def settled(self) -> bool:
        """Whether the peer has everything, the end included."""
        return self.finished and self.acknowledged > self.end

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Keep a copy of what is being sent."""
        assert not self.finished
        size = len(data)
        last = self._chunks[-1] if self._chunks else None
        if isinstance(last, bytearray) and len(last) + size <= _SMALL:
            last += data
        else:
            self._chunks.append(_copy_of(data))
        if self.pacing is not None and not self.kept:
            self.pacing.begin()
        self.end += size
        self._budget.used += size

    def finish(self) -> None:
        """Nothing more follows."""
        self.finished = True

    def acknowledge(self, offset: int) -> bool:
        """The peer has everything below ``offset``; False if that is no news.

        ``IroshError`` (protocol-error) for what was never sent.
        """
        if offset > self.end + self.finished:
            raise IroshError(ErrorCode.PROTOCOL, "the peer acknowledges bytes that were not sent")
        if offset <= self.acknowledged:
            return False
        before = self.kept
        self.acknowledged = offset
        size = before - self.kept
        self._budget.used -= size
        if self.pacing is not None:
            self.pacing.acknowledged(size)
        gone = 0
        for chunk in self._chunks:
            if self._start + len(chunk) > offset:
                break
            self._start += len(chunk)
            _let_go(chunk)
            gone += 1
        del self._chunks[:gone]
        return True

    def read(self, offset: int, limit: int) -> bytes:
        """Up to ``limit`` of the kept bytes from ``offset`` on; empty at the end.

        ``IroshError`` (protocol-error) when the peer has acknowledged bytes that it has not got yet.
        """
        if offset < min(self.acknowledged, self.end):
            raise IroshError(ErrorCode.PROTOCOL, "the peer acknowledges bytes that it cannot have")
        parts: list[memoryview] = []
        position = self._start
        for chunk in self._chunks:
            if limit <= 0:
                break
            if position + len(chunk) > offset:
                part = memoryview(chunk)[offset - position : offset - position + limit]
                parts.append(part)
                offset += len(part)
                limit -= len(part)
            position += len(chunk)
        return b"".join(parts)

    def drop(self) -> None:
        """Forget all: nobody will ask for it."""
        self._budget.used -= self.kept
        self._chunks.clear()
        self._start = self.acknowledged = self.end


def _copy_of(data: bytes | bytearray | memoryview) -> bytearray:
    if len(data) != _LARGE or not _spare:
        return bytearray(data)
    chunk = _spare.pop()
    memoryview(chunk)[:] = data
    return chunk


def _let_go(chunk: bytearray) -> None:
    if len(chunk) == _LARGE and len(_spare) < _MOST_SPARE:
        _spare.append(chunk)
