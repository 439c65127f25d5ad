"""Packets on a byte stream: a 16-bit big-endian length, then the packet. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator

MAX_PACKET = 65_535
_LENGTH = struct.Struct(">H")
LENGTH_SIZE = _LENGTH.size


def pack_packet(payload: bytes) -> bytes:
    """A packet that travels on a stream."""
    return _LENGTH.pack(len(payload)) + payload


class PacketParser:
    """Cuts a byte stream into packets: feed bytes, take packets, of which empty ones are valid."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_inside(self) -> bool:
        """Whether a packet has begun and not ended."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The packets completed by ``data``. To be used up before more is fed."""
        self._buffer += data
        whole = bytes(self._buffer)
        at = 0
        while len(whole) - at >= LENGTH_SIZE:
            end = at + LENGTH_SIZE + (whole[at] << 8 | whole[at + 1])
            if end > len(whole):
                break
            yield whole[at + LENGTH_SIZE : end]
            at = end
        del self._buffer[:at]
