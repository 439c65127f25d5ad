"""What a person typed as TARGET: a ticket, an endpoint id, an npub or a petname, turned into whom to dial and how."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.mode import MANUAL_MODES, Mode
from irosh.core.nostr_key import format_npub, parse_npub
from irosh.core.paths import Paths
from irosh.core.petname import valid_petname
from irosh.core.ticket import parse_target
from irosh.core.trust import Peer, TrustStore
from irosh.node.destination import Destination
from irosh.node.target_request import TargetRequest
from irosh.node.ways import Way, known_peer_id, resolve_way
from irosh.rendezvous.interfaces import Contact, Exchange

ANYBODY = "-"
"""In the manual modes: whoever the offer is from."""


@dataclass(frozen=True)
class Target:
    """Whom to dial, and the peer it is pinned as, if it is."""

    destination: Destination
    peer: Peer | None


def resolve_target(trust: TrustStore, own_id: str, asked: TargetRequest, exchange: Exchange | None) -> Target:
    """``IroshError``: invalid-ticket, ticket-version, unknown-target, usage."""
    if (way := resolve_way(trust, own_id, asked, exchange)) is not None:
        return _behind_hops(trust, own_id, asked, way)
    contact, mode, peer = _contact(trust, own_id, asked)
    if mode in MANUAL_MODES and exchange is None:
        raise IroshError(
            ErrorCode.USAGE,
            f"mode {mode} needs somebody to carry the offer and the answer, and this command has nobody",
            "use --offer-file and --answer-file, or another mode",
        )
    return Target(Destination(contact, mode, asked.network, exchange, asked.paths), peer)


def _behind_hops(trust: TrustStore, own_id: str, asked: TargetRequest, way: Way) -> Target:
    """How the target could be met is no matter: the last hop does that."""
    peer_id = known_peer_id(trust, own_id, asked.target)
    ticket = parse_target(asked.target)
    contact = Contact(peer_id, invite=None if ticket is None else ticket.invite)
    return Target(Destination(contact, paths=Paths.FASTEST, way=way), trust.get(peer_id))


def _contact(trust: TrustStore, own_id: str, asked: TargetRequest) -> tuple[Contact, Mode, Peer | None]:
    text = asked.target.strip()
    if text == ANYBODY:
        if asked.mode not in MANUAL_MODES:
            raise IroshError(
                ErrorCode.USAGE,
                "TARGET - stands for whoever the offer is from, which only the manual modes have",
                "name the target, or use --mode custom or iroh-manual",
            )
        return Contact(None), asked.mode, None
    if text.lower().startswith("npub1"):
        npub = format_npub(parse_npub(text))
        peer = trust.find_npub(npub)
        contact = _of_peer(peer) if peer is not None else Contact(None, npub=npub)
        return contact, asked.mode or Mode.NOSTR, peer
    ticket = parse_target(text)
    if ticket is None:
        peer = trust.find(text)
        if peer is None:
            raise _unknown(trust, text, asked.mode)
        return _of_peer(peer), asked.mode or Mode(peer.mode), peer
    if ticket.endpoint_id == own_id:
        raise IroshError(ErrorCode.UNKNOWN_TARGET, "that is this node's own ticket", "use it on another machine")
    peer = trust.get(ticket.endpoint_id)
    known = _of_peer(peer) if peer is not None else Contact(ticket.endpoint_id)
    bare = not (ticket.addresses or ticket.relays or ticket.npub)
    contact = Contact(
        ticket.endpoint_id,
        relays=known.relays if bare else ticket.relays,
        addresses=known.addresses if bare else ticket.addresses,
        npub=ticket.npub or known.npub,
        nostr_relays=ticket.nostr_relays or known.nostr_relays,
        invite=ticket.invite,
    )
    if asked.mode is not None:
        return contact, asked.mode, peer
    return contact, Mode(peer.mode) if bare and peer is not None else ticket.mode, peer


def _of_peer(peer: Peer) -> Contact:
    return Contact(peer.id, peer.relays, peer.addresses, peer.npub, peer.nostr_relays)


def _unknown(trust: TrustStore, text: str, mode: Mode | None) -> IroshError:
    shown = text if len(text) <= 60 else text[:57] + "…"
    if not valid_petname(text):
        return IroshError(
            ErrorCode.UNKNOWN_TARGET,
            f"{shown!r} is neither a ticket, an endpoint id nor the name of a peer",
            "`irosh host` on the other machine prints a ticket",
        )
    if machines := trust.machines.named(text):
        return IroshError(
            ErrorCode.UNKNOWN_TARGET,
            f"{shown} has no irosh, only an SSH server behind {machines[0].gateway}",
            "irosh connect, irosh proxy and forwards reach it; for scp and sftp: irosh ssh-config",
        )
    names = [peer.petname for peer in trust.peers()]
    close = difflib.get_close_matches(text, names, n=1)
    if close:
        hint = f"did you mean {close[0]!r}?"
    elif mode in MANUAL_MODES:
        hint = f"for a new peer: TARGET - takes whoever the offer is from, --name {text} names it"
    else:
        hint = "connect with a ticket once; `irosh peer list` shows known peers"
    return IroshError(ErrorCode.UNKNOWN_TARGET, f"no peer is named {shown!r}", hint)
