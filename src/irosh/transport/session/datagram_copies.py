"""What the datagrams of a session with several carriers are: the user's, or tails of streams. Pure.

The user's may go by two carriers: each has a number, and of its copies the first to arrive counts.
"""

from __future__ import annotations

import struct

_KIND_AND_NUMBER = struct.Struct(">BI")
COPY_HEADER_SIZE = _KIND_AND_NUMBER.size
_USERS, _TAIL = 0, 1
WINDOW = 4096
"""Numbers behind the newest that are still told apart; older ones are taken for copies."""
_HALF = 1 << 31


class DatagramCopies:
    """Both directions of a session. Numbers wrap around."""

    def __init__(self) -> None:
        self._next = 0
        self._newest = 0
        self._seen = 0  # bit n: newest - n has been seen

    def pack(self, data: bytes) -> bytes:
        """``data`` with the next number."""
        number = self._next
        self._next = (number + 1) & 0xFFFF_FFFF
        return _KIND_AND_NUMBER.pack(_USERS, number) + data

    def unpack(self, data: bytes) -> bytes | None:
        """What was packed; None for a copy of what came before, and for what is no such datagram."""
        if len(data) < COPY_HEADER_SIZE or data[0] != _USERS:
            return None
        _, number = _KIND_AND_NUMBER.unpack_from(data)
        ahead = (number - self._newest) & 0xFFFF_FFFF
        if not self._seen:
            self._newest, self._seen = number, 1
        elif ahead == 0:
            return None
        elif ahead < _HALF:
            self._newest = number
            self._seen = (self._seen << ahead if ahead < WINDOW else 0) & ((1 << WINDOW) - 1) | 1
        else:
            behind = (self._newest - number) & 0xFFFF_FFFF
            if behind >= WINDOW or self._seen >> behind & 1:
                return None
            self._seen |= 1 << behind
        return data[COPY_HEADER_SIZE:]


def mark_tail(data: bytes) -> bytes:
    """A datagram with a tail; see :mod:`irosh.transport.session.tails`."""
    return bytes((_TAIL,)) + data


def marked_tail(datagram: bytes) -> bytes | None:
    """What was marked; None for any other datagram."""
    return datagram[1:] if datagram[:1] == bytes((_TAIL,)) else None
