"""What connects, and how, as theory has it. Pure.

A NAT is described by its mapping and its filtering (RFC 4787, sections 4.1 and 5): which of RFC 5128's and RFC 8445's
methods get through it follows from these two alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from irosh.core.mode import Mode
from tests.lab.nat import NatKind


class Outcome(StrEnum):
    """How two nodes end up."""

    DIRECT = "direct"
    RELAYED = "relayed"
    REFUSED = "refused"


@dataclass(frozen=True)
class Side:
    """A node behind ``nats``, the nearest first; those of a :class:`Place` come on top. ``udp``: it is let out."""

    nats: tuple[NatKind, ...] = ()
    udp: bool = True

    @property
    def stable(self) -> bool:
        """Whether its outer address is the same for every destination (RFC 4787: endpoint-independent mapping)."""
        return NatKind.SYMMETRIC not in self.nats

    @property
    def strictness(self) -> int:
        """Who is let in: 0 everybody, 1 hosts that were called, 2 only the very addresses that were called."""
        return max(map(_STRICTNESS.__getitem__, self.nats), default=0)


_STRICTNESS = {
    NatKind.NONE: 0,
    NatKind.FULL_CONE: 0,
    NatKind.ADDRESS_RESTRICTED: 1,
    NatKind.PORT_RESTRICTED: 2,
    NatKind.SYMMETRIC: 2,
}


@dataclass(frozen=True)
class Place:
    """Where a host and a client are.

    ``carrier``: a NAT that both are behind, besides their own. ``hairpin``: NATs turn back what is for their outside.
    ``one_lan``: both are behind one and the same home NAT.
    """

    name: str
    host: Side
    client: Side
    carrier: NatKind | None = None
    hairpin: bool = False
    one_lan: bool = False


def reaches(sender: Side, receiver: Side) -> bool:
    """Whether a packet of ``sender`` to the address that STUN told ``receiver`` gets in, once both have sent some.

    It must go where the receiver's socket is seen: its mapping has to be stable. And the receiver's NAT must have
    let out a packet to where the sender's comes from: a host is always known, a port only if the sender's is stable.
    """
    if not receiver.stable:
        return False
    return receiver.strictness < 2 or sender.stable


def direct(place: Place) -> bool:
    """UDP hole punching (RFC 5128, section 3.3), both sides knowing all of the other's addresses.

    One packet that gets in is enough: the answer goes back the way it came, whatever address that is (RFC 8445,
    section 7.3.1.3: peer-reflexive candidates).
    """
    if not _outer_addresses_work(place):
        return place.one_lan
    return place.one_lan or reaches(place.client, place.host) or reaches(place.host, place.client)


def _outer_addresses_work(place: Place) -> bool:
    """Whether packets to an address that STUN told arrive before the side's own NAT at all."""
    if not place.host.udp or not place.client.udp:
        return False
    # Two customers of one carrier meet on its outside only if it hairpins (RFC 4787, section 6), and then only if the
    # outside port stands for one inside address.
    return place.carrier is None or (place.hairpin and place.carrier is not NatKind.SYMMETRIC)


def open_to_all(place: Place) -> bool:
    """Whether the client reaches the host without the host knowing of it: nothing is signalled."""
    return place.one_lan or (_outer_addresses_work(place) and place.host.stable and place.host.strictness == 0)


def expected(mode: Mode, place: Place, *, relay: bool) -> Outcome:
    """What has to come of it. ``relay``: an iroh relay is allowed and both reach it.

    - iroh-default: its signalling goes over the relay, and both sides punch. Without one, the client has the ticket
      and the host has nothing.
    - iroh-manual: offer and answer are carried by hand, both sides punch, there is no relay.
    - custom and nostr: full ICE, and the relay where that finds nothing.
    """
    if mode is Mode.IROH_DEFAULT and not relay:
        return Outcome.DIRECT if open_to_all(place) else Outcome.REFUSED
    if direct(place):
        return Outcome.DIRECT
    return Outcome.RELAYED if relay and mode is not Mode.IROH_MANUAL else Outcome.REFUSED
