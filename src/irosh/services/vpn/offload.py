"""Packets as the kernel hands them over when it leaves work to others: large ones, to be cut later. Pure.

A TCP connection that sends much makes packets of up to 64 KiB, each of which stands for many (TSO), and leaves
checksums open. What has to be done yet is in a header before the packet (virtio 1.2, 5.1.6: ``virtio_net_hdr``). Such
packets cross the tunnel whole: there are 20 to 40 times fewer of them. What a peer says is to be done is held against
the packet itself; the kernel's header is made from that, and nothing in it is the peer's but the segment.

In the tunnel two bytes go before a packet, the *segment*: 0 nothing is to be done; 1 the checksum of TCP or UDP is
open; more: it is to be cut into packets that carry so many bytes of TCP each, and the checksum is open.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from irosh.core.ip_packet import TCP, UDP, upper_at

_HEADER = struct.Struct("=BBHHHH")  # flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
HEADER_SIZE = _HEADER.size
_SEGMENT = struct.Struct(">H")
SEGMENT_SIZE = _SEGMENT.size
# linux/virtio_net.h
_NEEDS_CHECKSUM = 1
_GSO_NONE, _GSO_TCP4, _GSO_TCP6 = 0, 1, 4

MOST_SEGMENTS = 64
"""Packets that one may be cut into. The interfaces are told, so that no more comes from the system."""
LARGEST = 65_000
"""Bytes of a packet to be cut; so are these."""
_LEAST_SEGMENT = 8  # TCP_MIN_SND_MSS of Linux, without options
_CHECKSUM_AT = {TCP: 16, UDP: 6}
_LEAST_TCP = 20
_SYN, _RST = 2, 4


class Offloaded(NamedTuple):
    """A packet, and what is to be done to it: ``segment`` as in the tunnel."""

    segment: int
    packet: bytes

    @property
    def is_large(self) -> bool:
        """Whether it stands for several."""
        return self.segment > 1


def pack(offloaded: Offloaded) -> bytes:
    """As it crosses the tunnel."""
    return _SEGMENT.pack(offloaded.segment) + offloaded.packet


def unpack(data: bytes) -> Offloaded | None:
    """What a peer has sent; None if it is too short for anything."""
    if len(data) < SEGMENT_SIZE:
        return None
    return Offloaded(data[0] << 8 | data[1], data[SEGMENT_SIZE:])


def from_system(data: bytes) -> Offloaded | None:
    """A packet with the kernel's header before it. None for what cannot cross the tunnel."""
    if len(data) < HEADER_SIZE:
        return None
    flags, kind, _, size, start, offset = _HEADER.unpack_from(data)
    packet = data[HEADER_SIZE:]
    if kind != _GSO_NONE:
        return Offloaded(size, packet)
    if not flags & _NEEDS_CHECKSUM:
        return Offloaded(0, packet)
    if _checksum_of(packet) == (start, offset):
        return Offloaded(1, packet)
    completed = _with_checksum(packet, start, start + offset)
    return None if completed is None else Offloaded(0, completed)


def header_for(offloaded: Offloaded) -> bytes | None:
    """The kernel's header for a packet whose addresses are sound; None where that cannot be done to this packet."""
    segment, packet = offloaded
    if segment == 0:
        return bytes(HEADER_SIZE)
    checksum = _checksum_of(packet)
    if checksum is None:
        return None
    if segment == 1:
        return _HEADER.pack(_NEEDS_CHECKSUM, _GSO_NONE, 0, 0, *checksum)
    headers = _headers_of_large(packet, checksum, segment)
    if headers is None:
        return None
    kind = _GSO_TCP4 if packet[0] >> 4 == 4 else _GSO_TCP6
    return _HEADER.pack(_NEEDS_CHECKSUM, kind, headers, segment, *checksum)


def _checksum_of(packet: bytes) -> tuple[int, int] | None:
    """Where the header of TCP or UDP begins, and where in it the checksum is. None for all else, and for fragments."""
    found = upper_at(packet) if len(packet) >= _LEAST_TCP else None
    if found is None or found[0] not in _CHECKSUM_AT:
        return None
    protocol, at = found
    offset = _CHECKSUM_AT[protocol]
    return (at, offset) if at + offset + 2 <= len(packet) else None


def _headers_of_large(packet: bytes, checksum: tuple[int, int], segment: int) -> int | None:
    """Bytes of the headers of a TCP packet that can be cut so; None if this one cannot."""
    at, offset = checksum
    if offset != _CHECKSUM_AT[TCP] or len(packet) < at + _LEAST_TCP or packet[at + 13] & (_SYN | _RST):
        return None
    tcp = (packet[at + 12] >> 4) * 4
    payload = len(packet) - at - tcp
    if tcp < _LEAST_TCP or segment < _LEAST_SEGMENT or not segment < payload <= segment * MOST_SEGMENTS:
        return None
    return at + tcp


def _with_checksum(packet: bytes, start: int, at: int) -> bytes | None:
    """With the sum over all from ``start`` at ``at``, where the kernel has put that of the pseudo-header (RFC 1071)."""
    if at + 2 > len(packet):
        return None
    summed = packet[start:]
    total = sum(struct.unpack(f">{len(summed) // 2}H", summed[: len(summed) & ~1]))
    if len(summed) & 1:
        total += summed[-1] << 8
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return packet[:at] + ((total ^ 0xFFFF) or 0xFFFF).to_bytes(2) + packet[at + 2 :]
