"""IP packets as far as a router between two nodes must read them: RFC 791 and RFC 8200. Pure.

Addresses stay bytes, four or sixteen of them: this is done for every packet.
"""

from __future__ import annotations

from typing import NamedTuple

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
LEAST_V4, LEAST_V6 = 20, 40
_FRAGMENT = 0x3FFF  # the bit "more fragments" and the offset
_EXTENSIONS = frozenset({0, 43, 60})  # hop-by-hop options, routing, destination options
_FRAGMENT_HEADER = 44
_MOST_EXTENSIONS = 8


class Addresses(NamedTuple):
    """Where a packet comes from and where it goes."""

    source: bytes
    destination: bytes


def addresses_of(packet: bytes) -> Addresses | None:
    """Of a packet whose header is sound and whose length is what the header says; None for anything else."""
    size = len(packet)
    if size < LEAST_V4:
        return None
    first = packet[0]
    if first >> 4 == 4:
        header = (first & 15) * 4
        if header < LEAST_V4 or size < header or packet[2] << 8 | packet[3] != size:
            return None
        return Addresses(packet[12:16], packet[16:20])
    if first >> 4 == 6 and size >= LEAST_V6 and (packet[4] << 8 | packet[5]) + LEAST_V6 == size:
        return Addresses(packet[8:24], packet[24:40])
    return None


class Upper(NamedTuple):
    """What a packet carries: the protocol, and the port of TCP and UDP to which it goes (0 for others)."""

    protocol: int
    destination_port: int


def upper_of(packet: bytes) -> Upper | None:
    """Of a packet that :func:`addresses_of` takes. None for fragments, and for what is cut short before the ports."""
    found = upper_at(packet)
    if found is None:
        return None
    protocol, at = found
    if protocol not in (TCP, UDP):
        return Upper(protocol, 0)
    if len(packet) < at + 4:
        return None
    return Upper(protocol, packet[at + 2] << 8 | packet[at + 3])


def upper_at(packet: bytes) -> tuple[int, int] | None:
    """The protocol that a packet of :func:`addresses_of` carries, and where it begins. None as in :func:`upper_of`."""
    return _upper_v4(packet) if packet[0] >> 4 == 4 else _upper_v6(packet)


def _upper_v4(packet: bytes) -> tuple[int, int] | None:
    if (packet[6] << 8 | packet[7]) & _FRAGMENT:
        return None
    return packet[9], (packet[0] & 15) * 4


def _upper_v6(packet: bytes) -> tuple[int, int] | None:
    protocol, at = packet[6], LEAST_V6
    for _ in range(_MOST_EXTENSIONS):
        if protocol not in _EXTENSIONS:
            return None if protocol == _FRAGMENT_HEADER else (protocol, at)
        if len(packet) < at + 8:
            return None
        protocol, at = packet[at], at + 8 + packet[at + 1] * 8
    return None
