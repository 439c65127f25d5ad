"""Who gets in: the accepting side's answer to a connection, from the trust store and the invite it brings."""

from __future__ import annotations

import logging

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.trust import Peer, TrustStore
from irosh.core.wire import PROTOCOL_VERSION, Hello
from irosh.node.audit import Auditor

log = logging.getLogger(__name__)


def admit(trust: TrustStore, auditor: Auditor, peer_id: str, hello: Hello) -> Peer:
    """The peer, pinned if its invite says so. ``IroshError`` with the reason to close the connection with."""
    try:
        peer = _admit(trust, peer_id, hello)
    except IroshError as error:
        auditor.record("connect", peer_id, "refused", error.message)
        raise
    auditor.record("connect", peer_id, "accepted", peer.petname)
    return peer


def _admit(trust: TrustStore, peer_id: str, hello: Hello) -> Peer:
    if hello.version != PROTOCOL_VERSION:
        raise IroshError(
            ErrorCode.PROTOCOL,
            f"the peer speaks protocol version {hello.version}, this host {PROTOCOL_VERSION}",
            "upgrade the older one",
        )
    standing = trust.standing(peer_id)
    if standing == "blocked":
        raise IroshError(ErrorCode.BLOCKED, "this host has blocked your identity")
    if hello.invite is not None:
        try:
            capabilities = trust.redeem_invite(hello.invite, peer_id)
        except IroshError:
            # A ticket pasted again by a peer that is already pinned is no reason to turn it away.
            if standing != "active":
                raise
        else:
            name = trust.free_petname(hello.hostname, peer_id) if standing == "unknown" else None
            trust.pin(peer_id, petname=name, origin="invite", capabilities=capabilities)
    elif standing == "revoked":
        raise IroshError(ErrorCode.REVOKED, "your access to this host was revoked", "ask its owner for a new ticket")
    elif standing == "expired":
        raise IroshError(ErrorCode.REVOKED, "your access to this host has expired", "ask its owner for a new ticket")
    peer = trust.active(peer_id)
    if peer is None:
        raise IroshError(
            ErrorCode.UNKNOWN_PEER,
            "this host does not know your identity",
            "ask its owner for a ticket (`irosh invite`), or to add your id (`irosh identity show`) as a peer",
        )
    return peer
