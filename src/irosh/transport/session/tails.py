"""The unacknowledged end of a stream, sent again as datagrams: so that one lost packet does not hold back a keystroke.

A carrier's stream delivers in order: what was in a packet that is lost, and all behind it, waits for a round trip and a
half. It is lost often just when another network goes, because engines then bind their sockets anew. Like mosh, which
sends whatever the other side has not acknowledged yet with every packet (Winstein and Balakrishnan, USENIX ATC 2012).
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Protocol

from irosh.transport.session.lane_frames import Piece

EVERY = 0.01
TIMES = 3
MOST = 1000
"""Bytes of one."""
_HEADER = struct.Struct(">QQB")
TAIL_HEADER_SIZE = _HEADER.size
_END = 1


class Tailed(Protocol):
    """A stream of which tails are sent."""

    number: int

    def tail(self, most: int) -> Piece | None:
        """The last ``most`` bytes that were sent and not acknowledged; None when there are none."""


def pack_tail(stream: int, piece: Piece) -> bytes:
    """The payload of a datagram."""
    return _HEADER.pack(stream, piece.offset, _END if piece.end else 0) + piece.data


def unpack_tail(data: bytes) -> tuple[int, Piece] | None:
    """Stream and piece; None for what is none. Pure."""
    if len(data) < TAIL_HEADER_SIZE:
        return None
    stream, offset, flags = _HEADER.unpack_from(data)
    piece = Piece(offset, data[TAIL_HEADER_SIZE:], flags == _END)
    return (stream, piece) if flags in (0, _END) and (piece.data or piece.end) else None


class Tails:
    """``send`` has a datagram sent, by whatever way; ``room``: the bytes that fit one."""

    def __init__(self, send: Callable[[bytes], object], room: Callable[[], int]) -> None:
        self._send = send
        self._room = room
        self._left: dict[Tailed, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def sent(self, stream: Tailed) -> None:
        """A small amount of ``stream`` is on its way."""
        self._left[stream] = TIMES
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY, self._due)

    def close(self) -> None:
        """Send no more."""
        self._left.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _due(self) -> None:
        most = min(MOST, self._room() - TAIL_HEADER_SIZE)
        for stream, left in list(self._left.items()):
            piece = stream.tail(most) if most > 0 else None
            if piece is not None:
                self._send(pack_tail(stream.number, piece))
            if piece is None or left == 1:
                del self._left[stream]
            else:
                self._left[stream] = left - 1
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._due) if self._left else None
