"""What a person typed as TARGET: a ticket, an endpoint id or a petname, turned into where to dial."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.petname import valid_petname
from irosh.core.ticket import parse_target
from irosh.core.trust import Peer, TrustStore
from irosh.node.links import Destination
from irosh.rendezvous.interfaces import Contact


@dataclass(frozen=True)
class Target:
    """Whom to dial, and the peer it is pinned as, if it is."""

    destination: Destination
    peer: Peer | None


def resolve_target(trust: TrustStore, own_id: str, text: str) -> Target:
    """``IroshError``: invalid-ticket, ticket-version, unknown-target."""
    ticket = parse_target(text)
    if ticket is None:
        peer = trust.find(text)
        if peer is None:
            raise _unknown(trust, text)
        return Target(Destination(Contact(peer.id, peer.relays, peer.addresses)), peer)
    if ticket.endpoint_id == own_id:
        raise IroshError(ErrorCode.UNKNOWN_TARGET, "that is this node's own ticket", "use it on another machine")
    peer = trust.get(ticket.endpoint_id)
    relays, addresses = ticket.relays, ticket.addresses
    if peer is not None and not addresses and not relays:
        relays, addresses = peer.relays, peer.addresses
    return Target(Destination(Contact(ticket.endpoint_id, relays, addresses, invite=ticket.invite)), peer)


def _unknown(trust: TrustStore, text: str) -> IroshError:
    shown = text if len(text) <= 60 else text[:57] + "…"
    if not valid_petname(text):
        return IroshError(
            ErrorCode.UNKNOWN_TARGET,
            f"{shown!r} is neither a ticket, an endpoint id nor the name of a peer",
            "`irosh host` on the other machine prints a ticket",
        )
    names = [peer.petname for peer in trust.peers()]
    close = difflib.get_close_matches(text, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "connect with a ticket once; `irosh peer list` shows known peers"
    return IroshError(ErrorCode.UNKNOWN_TARGET, f"no peer is named {shown!r}", hint)
