"""What an owner does with peers, invites and the audit. Works on the trust store, with or without a running node."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast, get_args

from irosh.core import totp
from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.factor_store import CONDITIONS, MAX_KEYS
from irosh.core.identity import parse_endpoint_id
from irosh.core.mode import Mode
from irosh.core.network_options import parse_nostr_relay
from irosh.core.nostr_key import format_npub, parse_npub
from irosh.core.password import is_password_hash
from irosh.core.peer import ForwardAgent
from irosh.core.second_factor import Factor, parse_factors
from irosh.core.security_key import parse_security_key
from irosh.core.trust import Peer, TrustStore

CloseConnections = Callable[[str, IroshError], int]


@dataclass(frozen=True)
class _Enrolled:
    """What a peer's answers shall match, checked."""

    factor: Factor
    value: str
    key: str = ""
    conditions: tuple[str, ...] = ()

    @classmethod
    def of(cls, asked: dict[str, Any]) -> _Enrolled:
        (factor,), value = parse_factors([str(asked["factor"])]), str(asked["value"])
        conditions = tuple(str(condition) for condition in asked.get("conditions", ()))
        match factor:
            case Factor.SECURITY_KEY:
                key = parse_security_key(value)
                if not CONDITIONS.issuperset(conditions):
                    raise IroshError(ErrorCode.PROTOCOL, "an unknown condition of a security key")
                return cls(factor, key.line, key.fingerprint, conditions)
            case Factor.TOTP:
                try:
                    totp.decode_secret(value)
                except ValueError as error:
                    raise IroshError(ErrorCode.USAGE, f"that is no TOTP secret: {error}") from None
            case Factor.PASSWORD:
                if not is_password_hash(value):
                    raise IroshError(ErrorCode.PROTOCOL, "that is not the hash of a password")
        return cls(factor, value)


class PeerAdmin:
    """Each method is one command; its result goes to the user as it is. ``close`` ends a peer's live connections."""

    def __init__(self, trust: TrustStore, close: CloseConnections) -> None:
        self._trust = trust
        self._close = close

    def run(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Run the command of that name. ``IroshError`` (usage, unknown-target, and what the store raises)."""
        commands: dict[str, Callable[..., dict[str, Any]]] = {
            "list": self.list,
            "show": self.show,
            "add": self.add,
            "rename": self.rename,
            "mode": self.mode,
            "forward-agent": self.forward_agent,
            "allow": self.allow,
            "revoke": self.revoke,
            "block": self.block,
            "unblock": self.unblock,
            "remove": self.remove,
            "require": self.require,
            "unlock": self.unlock,
            "invites": self.invites,
            "audit": self.audit,
        }
        try:
            return commands[command](**arguments)
        except (KeyError, TypeError) as error:
            raise IroshError(ErrorCode.PROTOCOL, f"malformed peer command {command!r}: {error}") from None

    def list(self) -> dict[str, Any]:
        """All peers, and the machines to which gateways among them lead."""
        return {
            "peers": [peer.to_dict() for peer in self._trust.peers()],
            "machines": [machine.to_dict() for machine in self._trust.machines.all()],
        }

    def show(self, name: str) -> dict[str, Any]:
        """One peer, with what is required of it; or a machine to which one leads."""
        if self._trust.find(name) is None and (machine := self._trust.machines.meant(name)) is not None:
            return {"machine": machine.to_dict()}
        peer = self._find(name)
        return {"peer": peer.to_dict(), "factors": self._factors(peer.id)}

    def add(
        self, endpoint_id: str, name: str | None, capabilities: Sequence[str], require: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Pin an identity by hand, without an invite; ``require`` second factors of it."""
        peer_id = parse_endpoint_id(endpoint_id)
        if factors := parse_factors(require):
            self._trust.factors.require(peer_id, factors)
        peer = self._trust.pin(peer_id, petname=name, origin="manual", capabilities=parse_capabilities(capabilities))
        return self._changed("peer-add", peer.id)

    def rename(self, name: str, new_name: str) -> dict[str, Any]:
        """Give a peer another petname."""
        peer = self._find(name)
        self._trust.rename(peer.id, new_name)
        return self._changed("peer-rename", peer.id)

    def mode(self, name: str, mode: str, npub: str | None, nostr_relays: Sequence[str]) -> dict[str, Any]:
        """Set how a peer is met unless a command says otherwise, and where it is found on Nostr."""
        peer = self._find(name)
        chosen = Mode(mode)
        key = None if npub is None else format_npub(parse_npub(npub))
        relays = [parse_nostr_relay(url) for url in nostr_relays]
        if chosen is Mode.NOSTR and key is None and peer.npub is None:
            raise IroshError(
                ErrorCode.USAGE,
                f"{peer.petname}'s Nostr key is not known",
                "give it with --npub; `irosh nostr key` prints it on that machine",
            )
        if relays and key is None:
            key = peer.npub
        self._trust.remember_rendezvous(peer.id, chosen, key, relays or peer.nostr_relays)
        return self._changed("peer-mode", peer.id)

    def forward_agent(self, name: str, choice: str) -> dict[str, Any]:
        """Set whether a peer is offered this machine's ssh-agent unless a command says otherwise."""
        peer = self._find(name)
        if choice not in get_args(ForwardAgent):
            raise IroshError(ErrorCode.PROTOCOL, f"no way to forward an agent: {choice[:20]!r}")
        self._trust.set_forward_agent(peer.id, cast(ForwardAgent, choice))
        return self._changed("peer-forward-agent", peer.id)

    def allow(
        self, name: str, capabilities: Sequence[str], replace: bool, expires_in: float | None, lift_expiry: bool
    ) -> dict[str, Any]:
        """Grant capabilities, besides those there are or instead of them; a revoked peer is active again.

        ``expires_in``: seconds until all access ends, None leaves that as it is; ``lift_expiry``: it ends no more.
        """
        peer = self._find(name)
        if peer.status == "blocked":
            raise IroshError(
                ErrorCode.BLOCKED, f"{peer.petname} is blocked", f"first: irosh peer unblock {peer.petname}"
            )
        parsed = parse_capabilities(capabilities)
        if replace and self._trust.standing(peer.id) == "active":
            self._trust.set_capabilities(peer.id, parsed)
        else:  # pinning gives one that is not active exactly these
            self._trust.pin(peer.id, petname=None, origin=peer.origin, capabilities=parsed)
        if expires_in is not None or lift_expiry:
            self._trust.set_expiry(peer.id, None if expires_in is None else time.time() + expires_in)
        return self._changed("peer-allow", peer.id)

    def revoke(self, name: str) -> dict[str, Any]:
        """Take all access from a peer and close its connections at once."""
        peer = self._find(name)
        self._trust.revoke(peer.id)
        return self._ended(
            "peer-revoke", peer.id, IroshError(ErrorCode.REVOKED, "your access to this host was revoked")
        )

    def block(self, name: str) -> dict[str, Any]:
        """Refuse a peer, or an identity never seen, for good."""
        peer_id = self._find_id(name)
        self._trust.block(peer_id)
        return self._ended("peer-block", peer_id, IroshError(ErrorCode.BLOCKED, "this host has blocked your identity"))

    def unblock(self, name: str) -> dict[str, Any]:
        """Lift a block: the peer is again what it was, and one that was known only to be blocked is forgotten."""
        peer = self._find(name)
        known = self._trust.unblock(peer.id)
        self._trust.audit("peer-unblock", peer.id, "changed", peer.petname)
        return {"unblocked": peer.petname, "id": peer.id, "peer": known.to_dict() if known else None}

    def remove(self, name: str) -> dict[str, Any]:
        """Forget a peer and close its connections."""
        peer = self._find(name)
        self._trust.remove(peer.id)
        self._trust.audit("peer-remove", peer.id, "changed", peer.petname)
        closed = self._close(peer.id, IroshError(ErrorCode.UNKNOWN_PEER, "this host has removed your identity"))
        return {"removed": peer.petname, "id": peer.id, "connections_closed": closed}

    def require(
        self, name: str, factors: Sequence[str], enrol: Sequence[dict[str, Any]], reset: bool
    ) -> dict[str, Any]:
        """Require exactly these second factors of a peer, and set what its answers must match.

        ``enrol``: objects with ``factor``, ``value`` and, of a security key, ``conditions``. ``reset``: what was set
        for the factors named is forgotten first; of those not named it always is.
        """
        peer = self._find(name)
        required = parse_factors(factors)
        enrolments = [_Enrolled.of(each) for each in enrol]
        with self._trust.changing():
            store = self._trust.factors
            store.forget(peer.id, [factor for factor in Factor if reset or factor not in required])
            for each in enrolments:
                store.enrol(peer.id, each.factor, each.value, key=each.key, conditions=each.conditions)
            if sum(each.factor is Factor.SECURITY_KEY for each in store.enrolments(peer.id)) > MAX_KEYS:
                raise IroshError(ErrorCode.USAGE, f"a peer has up to {MAX_KEYS} security keys")
            store.require(peer.id, required)
        self._trust.audit("peer-require", peer.id, "changed", f"{peer.petname}: {' '.join(required) or 'none'}")
        return {"peer": peer.to_dict(), "factors": self._factors(peer.id)}

    def unlock(self, name: str) -> dict[str, Any]:
        """Forget a peer's failed attempts at second factors."""
        peer = self._find(name)
        failures = self._trust.factors.failures(peer.id).count
        self._trust.factors.unlock(peer.id)
        self._trust.audit("peer-unlock", peer.id, "changed", f"{peer.petname}: {failures} failures forgotten")
        return {"peer": peer.to_dict(), "failures": failures}

    def invites(self) -> dict[str, Any]:
        """The invites that may still be used."""
        return {"invites": [invite.to_dict() for invite in self._trust.invites()]}

    def audit(self, limit: int, name: str | None, since: float | None) -> dict[str, Any]:
        """The latest entries, oldest first."""
        peer_id = self._find_id(name) if name else None
        entries = self._trust.audit_log(limit=limit, peer_id=peer_id, since=since)
        return {"entries": [entry.to_dict() for entry in entries]}

    def _factors(self, peer_id: str) -> dict[str, Any]:
        store = self._trust.factors
        return {
            "required": [str(factor) for factor in store.required(peer_id)],
            "set": [
                {"factor": str(each.factor), "key": each.id, "conditions": sorted(each.conditions)}
                for each in store.enrolments(peer_id)
            ],
            "failures": store.failures(peer_id).count,
        }

    def _find(self, name: str) -> Peer:
        peer = self._trust.find(name)
        if peer is None:
            raise IroshError(
                ErrorCode.UNKNOWN_TARGET, f"no peer is named {name[:80]!r}", "`irosh peer list` shows them"
            )
        return peer

    def _find_id(self, name: str) -> str:
        """The endpoint id of a peer, or of an identity that is none."""
        return parse_endpoint_id(name) if len(name) in (52, 64) and not self._trust.find(name) else self._find(name).id

    def _changed(self, event: str, peer_id: str) -> dict[str, Any]:
        peer = self._trust.get(peer_id)
        assert peer is not None
        self._trust.audit(event, peer_id, "changed", peer.petname)
        return {"peer": peer.to_dict()}

    def _ended(self, event: str, peer_id: str, reason: IroshError) -> dict[str, Any]:
        return {**self._changed(event, peer_id), "connections_closed": self._close(peer_id, reason)}
