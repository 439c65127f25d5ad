"""The trust store: the identities a node knows, what each may do, the invites it gave out, the audit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from irosh.core.audit import AuditEntry, AuditLog, Outcome
from irosh.core.authority_store import AuthorityStore
from irosh.core.capability import Capability
from irosh.core.database import Database, Value
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.factor_store import FactorStore
from irosh.core.invites import InviteInfo, Invites
from irosh.core.machine_store import MachineStore
from irosh.core.metrics_history import MetricsHistory
from irosh.core.mode import Mode
from irosh.core.peer import ForwardAgent, Peer, Standing, capabilities_to_text, is_endpoint_id
from irosh.core.peer_table import PeerTable
from irosh.core.petname import LONGEST, petname_from_hostname, valid_petname
from irosh.core.second_factor import Factor
from irosh.core.wording import quoted

__all__ = ["AuditEntry", "Peer", "TrustStore"]

SHORTEST_PREFIX = 8
"""Digits of an endpoint id that must be given to name a peer by them."""


class TrustStore:
    """Peers, invites and the audit, in one SQLite file with mode 0600, made if it is missing.

    Several processes may use the file at once; one ``TrustStore`` belongs to the thread that made it. Every
    method raises ``IroshError`` if the file fails: ``DISK_FULL``, ``STATE_IN_USE`` (locked for seconds by
    another process) or ``STATE_UNUSABLE``. What a method promises has happened when it returns.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._database = Database(path)
        self._peers = PeerTable(self._database)
        self._invites = Invites(self._database, clock)
        self._audit = AuditLog(self._database, clock)
        self.factors = FactorStore(self._database, clock)
        """What is required of peers beyond their identity."""
        self.authorities = AuthorityStore(self._database, clock)
        """Whose certificates let identities in that are no peers yet."""
        self.machines = MachineStore(self._database, clock)
        """What gateways among the peers lead to."""
        self.metrics_history = MetricsHistory(self._database)
        """Not trust, but in the same file and by the same connection."""

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        self._database.close()

    def __enter__(self) -> TrustStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Looking up

    def get(self, peer_id: str) -> Peer | None:
        """The peer with this endpoint id, whatever its status."""
        return self._peers.get(peer_id) if is_endpoint_id(peer_id) else None

    def find(self, name: str) -> Peer | None:
        """The peer that a person means: by petname (any case), endpoint id, or at least 8 first digits of it.

        None if there is no such peer, or if several begin with these digits.
        """
        if valid_petname(name):
            return self._peers.by_petname(name)
        if name.isascii() and name.isalnum() and SHORTEST_PREFIX <= len(name) <= 64:
            return self._peers.by_prefix(name.lower())
        return None

    def peers(self) -> list[Peer]:
        """All known identities, also revoked and blocked ones, by petname."""
        return self._peers.all()

    def active(self, peer_id: str) -> Peer | None:
        """The peer if it may do what it was granted: known, not revoked, not blocked, not expired."""
        peer = self.get(peer_id)
        return peer if self._standing(peer) == "active" else None

    def standing(self, peer_id: str) -> Standing:
        """Why :meth:`active` returns what it does."""
        return self._standing(self.get(peer_id))

    def _standing(self, peer: Peer | None) -> Standing:
        if peer is None:
            return "unknown"
        if peer.status == "active" and peer.expires_at is not None and peer.expires_at <= self._clock():
            return "expired"
        return peer.status

    def free_petname(self, hostname: str, peer_id: str) -> str:
        """A petname that is not taken, for a peer whose host calls itself ``hostname`` (may be empty)."""
        base = petname_from_hostname(hostname) or f"peer-{peer_id[:8]}"
        name, number = base, 2
        while (owner := self._peers.by_petname(name)) is not None and owner.id != peer_id:
            suffix = f"-{number}"
            name, number = base[: LONGEST - len(suffix)] + suffix, number + 1
        return name

    # Deciding about peers

    def pin(
        self,
        peer_id: str,
        *,
        petname: str | None,
        origin: str,
        capabilities: Iterable[Capability] = (),
        expires_at: float | None = None,
    ) -> Peer:
        """Make an identity a peer; ``petname`` None keeps its name or makes one from its id.

        An active peer keeps its capabilities and gets these as well; it keeps its expiry unless one is given.
        One that was revoked or has expired is reactivated with exactly these.

        Raises ``IroshError``: ``NAME_TAKEN`` if another identity has the petname; ``BLOCKED``, as blocking is
        only undone by :meth:`unblock`; ``USAGE`` for an impossible petname or endpoint id.
        """
        _check_id(peer_id)
        with self._database.transaction():
            known = self.get(peer_id)
            standing = self._standing(known)
            if standing == "blocked":
                raise _blocked(peer_id)
            if petname is not None:
                self._check_petname(petname, peer_id)
            if known is None:
                self._insert(peer_id, petname, capabilities_to_text(capabilities), origin, expires_at)
                return self._change(peer_id)
            name = petname or known.petname
            if standing == "active":
                granted = capabilities_to_text((*known.capabilities, *capabilities))
                expiry = known.expires_at if expires_at is None else expires_at
                return self._change(peer_id, petname=name, capabilities=granted, expires_at=expiry)
            return self._change(
                peer_id,
                petname=name,
                capabilities=capabilities_to_text(capabilities),
                expires_at=expires_at,
                origin=origin,
                revoked=0,
            )

    def rename(self, peer_id: str, petname: str) -> Peer:
        """Give a peer another petname. Raises ``IroshError(NAME_TAKEN)``, ``USAGE`` or ``UNKNOWN_TARGET``."""
        with self._database.transaction():
            self._check_petname(petname, peer_id)
            return self._change(peer_id, petname=petname)

    def set_capabilities(self, peer_id: str, capabilities: Iterable[Capability]) -> Peer:
        """Grant exactly these. Raises ``IroshError(UNKNOWN_TARGET)``, as the following methods do."""
        with self._database.transaction():
            return self._change(peer_id, capabilities=capabilities_to_text(capabilities))

    def set_expiry(self, peer_id: str, expires_at: float | None) -> Peer:
        """From this moment (Unix seconds; None: never) the peer's capabilities are void."""
        with self._database.transaction():
            return self._change(peer_id, expires_at=expires_at)

    def set_forward_agent(self, peer_id: str, choice: ForwardAgent) -> Peer:
        """Offer the peer this machine's ssh-agent from now on, or do not."""
        with self._database.transaction():
            self._known(peer_id)
            self._peers.update(peer_id, forward_agent=choice)
            return self._known(peer_id)

    def revoke(self, peer_id: str) -> Peer:
        """Take all capabilities from a peer until it is pinned again, with a new invite for instance."""
        with self._database.transaction():
            return self._change(peer_id, revoked=1)

    def block(self, peer_id: str) -> Peer:
        """Refuse an identity, known or not, even with a valid invite. Raises ``IroshError(USAGE)``."""
        _check_id(peer_id)
        with self._database.transaction():
            if self.get(peer_id) is None:
                self._insert(peer_id, None, "", "block", None)
            return self._change(peer_id, blocked=1)

    def unblock(self, peer_id: str) -> Peer | None:
        """Undo :meth:`block`: the peer is again what it was; None if it was unknown."""
        with self._database.transaction():
            if self._known(peer_id).origin == "block":
                self._peers.delete(peer_id)
                return None
            return self._change(peer_id, blocked=0)

    def remove(self, peer_id: str) -> None:
        """Forget a peer, its block included. What it redeemed before does not let it in again."""
        with self._database.transaction():
            self._known(peer_id)
            self._peers.delete(peer_id)
            self._invites.settle(peer_id)
            self.factors.forget_peer(peer_id)

    # What is learned from connections; a peer that has been removed meanwhile is left alone

    def remember_route(
        self, peer_id: str, addresses: Iterable[str], relays: Iterable[str], remote_user: str | None
    ) -> None:
        """Keep how a peer was reached. A ``remote_user`` of None leaves the one that is known.

        The texts may come from the peer: they are bounded in number and length, and what is overlong or not
        printable is dropped.
        """
        self._peers.set_route(peer_id, addresses, relays, remote_user)

    def remember_rendezvous(self, peer_id: str, mode: Mode, npub: str | None, nostr_relays: Iterable[str]) -> None:
        """Keep by which mode a peer is met. An ``npub`` of None leaves what is known of its Nostr key and relays."""
        self._peers.set_rendezvous(peer_id, mode, npub, nostr_relays)

    def find_npub(self, npub: str) -> Peer | None:
        """The peer with this Nostr key."""
        return self._peers.by_npub(npub)

    def touch(self, peer_id: str) -> None:
        """Note that the peer was seen now."""
        self._peers.update(peer_id, last_seen=self._clock())

    # Invites

    def create_invite(
        self,
        capabilities: Iterable[Capability],
        *,
        uses: int = 1,
        lifetime: float = 3600.0,
        factors: Iterable[Factor] = (),
    ) -> bytes:
        """Make an invite for ``uses`` identities, valid for ``lifetime`` seconds; returns its 16-byte secret.

        ``factors`` are required of whom it lets in, besides its identity. Only a hash of the secret is kept. Raises
        ``IroshError(USAGE)``.
        """
        return self._invites.create(capabilities, uses, lifetime, factors)

    def redeem_invite(self, secret: bytes, peer_id: str) -> tuple[Capability, ...]:
        """Use an invite once for ``peer_id``; returns the capabilities to :meth:`pin` the peer with.

        The same peer may redeem the same invite again, as the answer may have been lost; that consumes no
        use. It cannot undo what was decided since: once pinned, the peer gets the capabilities that it has at
        present, and ``INVITE_USED`` if it was revoked, removed or has expired.

        Raises ``IroshError``: ``INVITE_INVALID``, ``INVITE_EXPIRED``, ``INVITE_USED`` or ``BLOCKED``; also
        ``USAGE`` for an impossible endpoint id.
        """
        _check_id(peer_id)
        with self._database.transaction():
            peer = self.get(peer_id)
            standing = self._standing(peer)
            if standing == "blocked":
                raise _blocked(peer_id)
            granted, factors, settled = self._invites.redeem(secret, peer_id)
            if not settled:
                if factors:
                    self.factors.require(peer_id, {*factors, *self.factors.required(peer_id)})
                return granted
            if peer is None or standing != "active":
                raise _taken_back()
            return peer.capabilities

    def check_invite(self, secret: bytes, peer_id: str) -> None:
        """Raises what :meth:`redeem_invite` would, and uses nothing up: whoever only asks to come may not come."""
        standing = self.standing(peer_id)
        if standing == "blocked":
            raise _blocked(peer_id)
        if self._invites.check(secret, peer_id) and standing != "active":
            raise _taken_back()

    def invites(self) -> list[InviteInfo]:
        """Invites that can still be used, the oldest first."""
        return self._invites.usable()

    def cancel_invite(self, invite_id: str) -> None:
        """Forget an invite. Raises ``IroshError(UNKNOWN_TARGET)`` if there is none with this id."""
        self._invites.cancel(invite_id)

    # Audit

    def audit(self, event: str, peer_id: str | None, outcome: Outcome, detail: str = "") -> None:
        """Append to the audit. Texts may come from a peer: they are escaped and cut to a limit."""
        self._audit.add(event, peer_id, outcome, detail)

    def audit_log(
        self, *, limit: int = 100, peer_id: str | None = None, since: float | None = None
    ) -> list[AuditEntry]:
        """The newest ``limit`` entries, the oldest of them first.

        Only those of one peer, and only those not older than ``since`` (Unix seconds), if given.
        """
        return self._audit.entries(limit, peer_id, since)

    def changing(self) -> AbstractContextManager[None]:
        """All that is done inside happens or nothing does. Not around methods that decide about peers."""
        return self._database.transaction()

    # Steps, inside a transaction

    def _known(self, peer_id: str) -> Peer:
        peer = self.get(peer_id)
        if peer is None:
            raise IroshError(
                ErrorCode.UNKNOWN_TARGET, f"there is no peer {quoted(peer_id)}", "irosh peer list shows them"
            )
        return peer

    def _insert(
        self, peer_id: str, petname: str | None, capabilities: str, origin: str, expires_at: float | None
    ) -> None:
        self._peers.insert(
            peer_id,
            petname=petname or self.free_petname("", peer_id),
            capabilities=capabilities,
            origin=origin,
            now=self._clock(),
            expires_at=expires_at,
        )

    def _change(self, peer_id: str, **columns: Value) -> Peer:
        """Every decision about a peer ends here: it also outdates what the peer's invites said."""
        self._known(peer_id)
        if columns:
            self._peers.update(peer_id, **columns)
        self._invites.settle(peer_id)
        return self._known(peer_id)

    def _check_petname(self, petname: str, peer_id: str) -> None:
        if not valid_petname(petname):
            raise IroshError(
                ErrorCode.USAGE,
                f"{quoted(petname)} cannot be a petname",
                "up to 63 letters, digits, '.', '_' and '-'; not what looks like an endpoint id or a ticket",
            )
        owner = self._peers.by_petname(petname)
        if owner is not None and owner.id != peer_id:
            raise IroshError(
                ErrorCode.NAME_TAKEN,
                f"{petname} is the name of another identity, {owner.id}",
                "choose another name, or rename or remove that peer first",
            )


def _check_id(peer_id: str) -> None:
    if not is_endpoint_id(peer_id):
        raise IroshError(
            ErrorCode.USAGE,
            f"{quoted(peer_id)} is not an endpoint id",
            "it has 64 lower-case hexadecimal digits",
        )


def _blocked(peer_id: str) -> IroshError:
    return IroshError(ErrorCode.BLOCKED, f"the identity {peer_id} is blocked on this host")


def _taken_back() -> IroshError:
    return IroshError(
        ErrorCode.INVITE_USED,
        "the invite in the ticket has been used, and the access it gave was taken back",
        "ask for a new ticket",
    )
