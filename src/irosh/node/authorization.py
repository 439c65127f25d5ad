"""The one place where it is decided what a peer may do. Deny by default; every decision is audited."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from irosh.core.addresses import parse_ip
from irosh.core.capability import Capability, SocketSpec
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.policy import (
    file_trees,
    may_permit,
    permits,
    permits_joining,
    permits_unix,
    permits_user,
    permitted_addresses,
)
from irosh.core.terms import Terms
from irosh.core.trust import TrustStore
from irosh.node.actions import Action, AsUser, BringBack, Enter, Files, Grant, Immediate, Join, Reach, Use
from irosh.node.audit import Auditor
from irosh.node.packet_filter import PacketFilter
from irosh.node.verification import FactorGate, Verification
from irosh.node.warrants import Warrants

RESOLVE_DEADLINE = 10.0
MAX_RESOLVING = 8
TOKEN_SIZE = 16


class Authorizer:
    """Decides by the trust store, looked up anew for every action, so that a change holds at once.

    ``verification``: what the session has given besides its identity. Without it a peer of which second factors are
    required may do nothing.
    """

    def __init__(self, trust: TrustStore, auditor: Auditor, gate: FactorGate, warrants: Warrants) -> None:
        self._trust = trust
        self._auditor = auditor
        self._warrants = warrants
        self.gate = gate
        # Name look-ups run in threads that all peers share.
        self._resolving = asyncio.Semaphore(MAX_RESOLVING)
        self._promised: dict[str, set[bytes]] = {}

    async def authorize(self, peer_id: str, action: Action, verification: Verification | None = None) -> Grant:
        """Grant ``action`` to the peer, or raise ``IroshError``.

        Its codes: denied; factor-required; target-unreachable for unknown names.
        """
        if verification is not None:
            await self._warrants.settled(peer_id, verification.certificate, verification.paths)
        if not isinstance(action, Reach):
            return self.authorize_now(peer_id, action, verification)
        with self._audited(peer_id, action):
            self.gate.check(peer_id, verification)
            capabilities, terms = self._standing(peer_id, verification)
            if not may_permit(capabilities, action.kind, action.spec):
                raise _denied(action)  # a peer without any such capability cannot make this host look up names
            where: list[str] = []
            if not _is_address(action.spec):
                async with self._resolving:
                    where = await _where(action.spec)
                capabilities, terms = self._standing(peer_id, verification)  # it may have changed meanwhile
            if terms is not None and not terms.own_account and action.spec.protocol == "unix":
                raise _not_own_account(terms)
            return _decide_reach(capabilities, action, where)

    @contextmanager
    def promise(self, peer_id: str) -> Iterator[bytes]:
        """A fresh token, with which the peer may :class:`BringBack` connections while the context lasts.

        It is no capability: the peer may do nothing else by it, and no other peer anything.
        """
        token = secrets.token_bytes(TOKEN_SIZE)
        tokens = self._promised.setdefault(peer_id, set())
        tokens.add(token)
        try:
            yield token
        finally:
            tokens.discard(token)
            if not tokens and self._promised.get(peer_id) is tokens:
                del self._promised[peer_id]

    def authorize_now(self, peer_id: str, action: Immediate, verification: Verification | None = None) -> Grant:
        """As :meth:`authorize`, for actions that need no name resolved."""
        with self._audited(peer_id, action):
            if isinstance(action, BringBack):  # that was promised by this node's user
                return self._kept_promise(peer_id, action)
            if not (isinstance(action, Enter) or (isinstance(action, AsUser) and action.entering)):
                self.gate.check(peer_id, verification)
            capabilities, terms = self._standing(peer_id, verification)
            if terms is not None:
                _check_terms(terms, action)
            if isinstance(action, Files):
                if trees := file_trees(capabilities):
                    return Grant(action, trees=trees, terms=terms)
                raise _denied(action)
            if not _permitted(capabilities, action):
                raise _denied(action)
            return Grant(action, terms=terms)

    def _kept_promise(self, peer_id: str, action: BringBack) -> Grant:
        promised = self._promised.get(peer_id, ())
        if not any(hmac.compare_digest(action.token, token) for token in promised):
            raise _denied(action)
        return Grant(action)

    def would_grant(self, peer_id: str, action: Immediate) -> bool:
        """As :meth:`permits`, with what is required of the peer besides: for an identity that is only claimed yet."""
        try:
            self.gate.check(peer_id, None)
        except IroshError:
            return False
        return self.permits(peer_id, action)

    def packet_filter(self, peer_id: str) -> PacketFilter:
        """Decides about the packets that a peer sends through this host."""
        return PacketFilter(partial(self.at_rest, peer_id), partial(self._packet_refused, peer_id))

    def at_rest(self, peer_id: str) -> Sequence[Capability]:
        """What a peer is granted wherever it is, and whether or not it is connected."""
        try:
            return self._standing(peer_id, None)[0]
        except IroshError:
            return ()

    def _packet_refused(self, peer_id: str, destination: str) -> None:
        self._auditor.record("use", peer_id, "refused", f"vpn:{destination}: this peer may not send packets there")

    def permits(self, peer_id: str, action: Immediate) -> bool:
        """Whether :meth:`authorize_now` would grant it, but for second factors and the peer's address.

        Nothing is used, so the audit does not say so.
        """
        try:
            if isinstance(action, BringBack):
                return bool(self._kept_promise(peer_id, action))
            capabilities, terms = self._standing(peer_id, None)
            if terms is not None:
                _check_terms(terms, action)
        except IroshError:
            return False
        return _permitted(capabilities, action)

    def terms(self, peer_id: str, verification: Verification) -> Terms | None:
        """What the peer has to heed besides its capabilities. ``IroshError`` when it may do nothing."""
        return self._standing(peer_id, verification)[1]

    def _standing(self, peer_id: str, verification: Verification | None) -> tuple[Sequence[Capability], Terms | None]:
        """What the trust store grants; where that is nothing, what others vouch for. ``IroshError`` says why not.

        An invitation to a shared session is no decision about the peer: it comes on top of either.
        """
        peer = self._trust.active(peer_id)
        if peer is None:
            return (), None
        self._warrants.revoked.check(peer_id)
        invitations = [each for each in peer.capabilities if each.kind == "join"]
        if len(invitations) < len(peer.capabilities):
            return peer.capabilities, None
        try:
            if verification is None:
                terms = self._warrants.terms_at_rest(peer_id)
            else:
                terms = self._warrants.terms(peer_id, verification.certificate, verification.paths())
        except IroshError:
            if not invitations:
                raise
            terms = None
        return (*(terms.capabilities if terms else ()), *invitations), terms

    @contextmanager
    def _audited(self, peer_id: str, action: Action) -> Iterator[None]:
        try:
            yield
        except IroshError as error:
            self._auditor.record("use", peer_id, "refused", f"{action}: {error.message}")
            raise
        way_in = (
            isinstance(action, Enter)
            or (isinstance(action, Use) and len(action.names) > 1)
            or (isinstance(action, AsUser) and action.own)
        )
        if not way_in:  # what is used is checked again
            self._auditor.record("use", peer_id, "used", str(action))


def _permitted(capabilities: Sequence[Capability], action: Use | Enter | AsUser | Files | Join) -> bool:
    if isinstance(action, Use | Enter):
        return any(permits(capabilities, name) for name in action.names)
    if isinstance(action, Join):
        return permits_joining(capabilities, action.session)
    if isinstance(action, Files):
        return bool(file_trees(capabilities))
    return action.own or permits_user(capabilities, action.name)


def _check_terms(terms: Terms, action: Immediate) -> None:
    """``IroshError`` (denied) for what no capability gives."""
    as_own = (isinstance(action, Files) and not action.heeds_terms) or (isinstance(action, AsUser) and action.own)
    if as_own and not terms.own_account:
        raise _not_own_account(terms)
    restricts = terms.command is not None or not terms.pty or not terms.own_account
    if restricts and action in (Use(("shell",)), Use(("exec",))):
        raise IroshError(ErrorCode.DENIED, f"{terms.origin} allows plain SSH sessions only")


def _not_own_account(terms: Terms) -> IroshError:
    return IroshError(
        ErrorCode.DENIED,
        f"{terms.origin} is not for the user that this host runs as",
        "connect as the user that it names: USER@HOST",
    )


def _decide_reach(capabilities: Sequence[Capability], action: Reach, where: Sequence[str]) -> Grant:
    spec = action.spec
    if spec.protocol == "unix":
        if permits_unix(capabilities, action.kind, where[0]):
            return Grant(action, tuple(where))
    elif addresses := permitted_addresses(capabilities, action.kind, spec, where):
        return Grant(action, tuple(addresses))
    raise _denied(action)


def _denied(action: Action) -> IroshError:
    if action == Use(("join",)) or isinstance(action, Join):
        return IroshError(
            ErrorCode.DENIED, "this peer may join no session here", "ask for a ticket: irosh share prints one"
        )
    if isinstance(action, BringBack):
        return IroshError(ErrorCode.DENIED, "nobody here waits for such a connection")
    wanted = (
        action.names[0] if isinstance(action, Use | Enter) else "files" if isinstance(action, Files) else str(action)
    )
    return IroshError(
        ErrorCode.DENIED,
        f"this peer may not use {wanted}",
        f"the host's owner can allow it: irosh peer allow NAME '{wanted}'",
    )


def _is_address(spec: SocketSpec) -> bool:
    """Whether it is what it says, and nothing has to be looked up."""
    return spec.protocol != "unix" and parse_ip(spec.host) is not None


async def _where(spec: SocketSpec) -> list[str]:
    """The addresses, or the real path, behind ``spec``. The policy is about what is reached, not what it is called."""
    if spec.protocol == "unix":
        return [await asyncio.to_thread(os.path.realpath, spec.path)]
    return await resolve(spec)


async def resolve(spec: SocketSpec) -> list[str]:
    """The addresses behind ``spec.host``, before any policy looks at them; none for an IP address, which is its own.

    ``IroshError`` (target-unreachable).
    """
    if parse_ip(spec.host) is not None:
        return []
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_DEADLINE):
            infos = await loop.getaddrinfo(spec.host, spec.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        reason = "the name server did not answer" if isinstance(error, TimeoutError) else "the name is unknown there"
        raise IroshError(ErrorCode.TARGET_UNREACHABLE, f"cannot resolve {spec.host}: {reason}") from None
    return list(dict.fromkeys(str(info[4][0]) for info in infos))
