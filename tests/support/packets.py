"""IP packets of any content."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from irosh.core.ip_packet import UDP


def packet4(
    source: IPv4Address,
    destination: IPv4Address,
    payload: bytes,
    *,
    protocol: int = UDP,
    options: int = 0,
    fragment: int = 0,
) -> bytes:
    header = 20 + 4 * options
    fields = (0x40 | header // 4, 0, header + len(payload), 1, fragment, 64, protocol, 0)
    return struct.pack(">BBHHHBBH", *fields) + source.packed + destination.packed + bytes(4 * options) + payload


def packet6(source: IPv6Address, destination: IPv6Address, payload: bytes, *, following: int = UDP) -> bytes:
    return struct.pack(">IHBB", 6 << 28, len(payload), following, 64) + source.packed + destination.packed + payload
