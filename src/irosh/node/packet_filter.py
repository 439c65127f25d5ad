"""Which packets of a peer may go where, by the policy, at the rate of packets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from irosh.core.capability import Capability
from irosh.core.policy import (
    permits_packet,
)

PACKET_DECISION = 1.0  # seconds for which it holds
MAX_DESTINATIONS = 4096  # of one peer, within that time
MAX_REFUSALS_TOLD = 100  # addresses in the audit, of one use of the service


class PacketFilter:
    """Whether packets may go to an address. What it has found holds for a second, as there are many packets."""

    def __init__(self, capabilities: Callable[[], Sequence[Capability]], refused: Callable[[str], None]) -> None:
        self._capabilities = capabilities
        self._refused = refused
        self._known: dict[bytes, bool] = {}
        self._until = 0.0
        self._told: dict[bytes, None] = {}

    def permits(self, destination: bytes) -> bool:
        """``destination``: four or sixteen bytes. The first refusal of an address is audited, of so many addresses."""
        now = time.monotonic()
        if now >= self._until or len(self._known) >= MAX_DESTINATIONS:
            self._known.clear()
            self._until = now + PACKET_DECISION
        known = self._known.get(destination)
        if known is None:
            address = ip_address(destination)
            known = self._known[destination] = permits_packet(self._capabilities(), address)
            if not known and destination not in self._told and len(self._told) < MAX_REFUSALS_TOLD:
                self._told[destination] = None
                self._refused(str(address))
        return known
