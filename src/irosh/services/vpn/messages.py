"""What the two ends of a VPN say to each other, and the operation that opens one. Pure."""

from __future__ import annotations

import msgspec

from irosh.node.target_request import TargetRequest

LEAST_MTU, MOST_MTU = 1280, 1500
"""Bytes of a packet. IPv6 asks for the least; what then does not fit a datagram goes by the stream."""


class VpnRequest(msgspec.Struct, omit_defaults=True):
    """Asks for an address. ``flow``: the number of the datagram flow that goes with this stream.

    ``wanted4`` and ``wanted6``: the addresses that the client had, if it comes again.
    """

    flow: int
    wanted4: str = ""
    wanted6: str = ""

    @property
    def summary(self) -> str:
        """What the stream is for, as ``irosh status`` shows it."""
        return "packets"


class VpnWelcome(msgspec.Struct, omit_defaults=True):
    """The client's addresses and the host's, by which it also answers DNS. IPv6 only where the host has it."""

    address4: str
    gateway4: str
    address6: str = ""
    gateway6: str = ""


class OpenRequest(TargetRequest, kw_only=True):
    """Operation ``vpn.open``: packets from ``routes``, or from everywhere, are let in."""

    routes: list[str] = msgspec.field(default_factory=list)
    everything: bool = False
