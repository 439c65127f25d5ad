"""Which packets go by the stream, one after the other, and which as datagrams. Pure.

By the stream go the large ones, and with them all others of the same TCP connection: a small one that overtook large
ones would look like a loss. So does everything while the peer sends large ones: an engine that is busy sending loses
some of what comes in meanwhile, which it makes good for streams only. All else goes as datagrams, which pass by what
waits in the stream.
"""

from __future__ import annotations

from irosh.core.ip_packet import LEAST_V4, LEAST_V6, TCP, upper_at
from irosh.services.vpn.offload import Offloaded

LASTS = 1.0  # seconds after the last large packet
MOST = 1024  # connections


class Ordering:
    """Learns of bulk by the packets. ``now`` is in seconds, of a monotonic clock."""

    def __init__(self) -> None:
        self._bulk: dict[bytes, float] = {}  # TCP connections, and until when
        self._peer_sends_until = 0.0

    def received(self, offloaded: Offloaded, now: float) -> None:
        """A packet has come from the peer."""
        if offloaded.is_large:
            self._peer_sends_until = now + LASTS

    def by_stream(self, offloaded: Offloaded, now: float) -> bool:
        """Whether this packet, which is to be sent now, goes by the stream."""
        if offloaded.is_large:
            self._note(offloaded.packet, now)
            return True
        return now < self._peer_sends_until or (bool(self._bulk) and self._belongs_to_bulk(offloaded.packet, now))

    def _note(self, packet: bytes, now: float) -> None:
        key = _connection_of(packet)
        if key is None:
            return
        if len(self._bulk) >= MOST and key not in self._bulk:
            self._bulk = {other: until for other, until in self._bulk.items() if until > now}
            if len(self._bulk) >= MOST:
                self._bulk.clear()
        self._bulk[key] = now + LASTS

    def _belongs_to_bulk(self, packet: bytes, now: float) -> bool:
        key = _connection_of(packet)
        until = None if key is None else self._bulk.get(key)
        if key is None or until is None:
            return False
        if until <= now:
            del self._bulk[key]
        return until > now


def _connection_of(packet: bytes) -> bytes | None:
    """Addresses and ports of a TCP packet."""
    found = upper_at(packet)
    if found is None or found[0] != TCP:
        return None
    at = found[1]
    addresses = packet[12:LEAST_V4] if packet[0] >> 4 == 4 else packet[8:LEAST_V6]
    return addresses + packet[at : at + 4]
