"""Who gets in: the accepting side's answer to a connection, from the trust store and the invite it brings."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ssh_certificate import Certificate, parse_certificate
from irosh.core.trust import Peer, TrustStore
from irosh.core.wire import PROTOCOL_VERSION, Hello
from irosh.node.audit import Auditor
from irosh.node.warrants import ORIGINS, Warrants

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Admitted:
    """A peer that was let in, and the certificate that it has shown, if it is a good one."""

    peer: Peer
    certificate: Certificate | None


def admit(
    trust: TrustStore, auditor: Auditor, warrants: Warrants, peer_id: str, hello: Hello, through: str | None
) -> Admitted:
    """The peer, pinned if its invite, a certificate or ``authorized_keys`` says so. ``through``: who brings it.

    ``IroshError`` with the reason to close the connection with.
    """
    brought = "" if through is None else f", through {through}"
    try:
        admitted = _admit(trust, warrants, peer_id, hello)
    except IroshError as error:
        auditor.record("connect", peer_id, "refused", error.message + brought)
        raise
    by = f", {admitted.peer.origin}" if admitted.peer.origin in ORIGINS else ""
    auditor.record("connect", peer_id, "accepted", f"{admitted.peer.petname}{by}{brought}")
    return admitted


def _admit(trust: TrustStore, warrants: Warrants, peer_id: str, hello: Hello) -> Admitted:
    if hello.version != PROTOCOL_VERSION:
        raise IroshError(
            ErrorCode.PROTOCOL,
            f"the peer speaks protocol version {hello.version}, this host {PROTOCOL_VERSION}",
            "upgrade the older one",
        )
    standing = trust.standing(peer_id)
    if standing == "blocked":
        raise IroshError(ErrorCode.BLOCKED, "this host has blocked your identity")
    warrants.revoked.check(peer_id)
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
    certificate, refused = _certificate(hello)
    peer = trust.active(peer_id)
    if peer is None or (peer.origin in ORIGINS and not peer.capabilities):
        admission = warrants.admission(peer_id, certificate)
        if admission is None:
            raise refused or _unknown()
        if peer is None:
            origin, name = admission
            peer = trust.pin(peer_id, petname=trust.free_petname(name or hello.hostname, peer_id), origin=origin)
            trust.factors.require(peer_id, warrants.factors)
    return Admitted(peer, certificate)


def _certificate(hello: Hello) -> tuple[Certificate | None, IroshError | None]:
    """What the peer shows, or why that is no good, which matters only if nothing else lets it in."""
    if not hello.certificate:
        return None, None
    try:
        return parse_certificate(hello.certificate), None
    except IroshError as error:
        return None, error


def _unknown() -> IroshError:
    return IroshError(
        ErrorCode.UNKNOWN_PEER,
        "this host does not know your identity",
        "ask its owner for a ticket (`irosh invite`), or to add your id (`irosh identity show`) as a peer",
    )
