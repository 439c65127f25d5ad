"""Packets on a byte stream: a 16-bit big-endian length, then the packet. Pure."""

from __future__ import annotations

import struct

MAX_PACKET = 65_535
_LENGTH = struct.Struct(">H")
LENGTH_SIZE = _LENGTH.size


def pack_packet(payload: bytes) -> bytes:
    """A packet that travels on a stream."""
    return _LENGTH.pack(len(payload)) + payload


def packet_length(prefix: bytes) -> int:
    """The length of the packet behind ``prefix``; 0 is a valid, empty packet."""
    return int(_LENGTH.unpack(prefix)[0])
