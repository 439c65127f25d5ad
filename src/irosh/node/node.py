"""The node: the one process that holds an identity and its state directory, and all that runs in it."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from irosh.core.capability import Capability, parse_capabilities
from irosh.core.config import Config
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity, short_id
from irosh.core.mode import Mode
from irosh.core.second_factor import Factor, parse_factors
from irosh.core.state import StateDirectory
from irosh.core.ticket import Ticket
from irosh.core.trust import Peer, TrustStore
from irosh.core.wire import Welcome
from irosh.node.audit import Auditor
from irosh.node.authorization import Authorizer
from irosh.node.control import ControlServer, Operation
from irosh.node.destination import Destination
from irosh.node.greeting import Doorway
from irosh.node.guests import Guests
from irosh.node.links import Links
from irosh.node.metrics.collector import Collector
from irosh.node.metrics.prometheus import Snapshot
from irosh.node.peer_connection import PeerConnection
from irosh.node.presented import Presented
from irosh.node.revoked_keys import RevokedKeys
from irosh.node.services import Registry, Service
from irosh.node.shown_machines import ShownMachines
from irosh.node.target_request import TargetRequest
from irosh.node.targets import resolve_target
from irosh.node.verification import FactorGate, FactorSettings
from irosh.node.warrants import Warrants, WarrantSettings
from irosh.node.ways import GUEST_DEPTH, Through, Travel
from irosh.rendezvous.interfaces import Exchange
from irosh.rendezvous.modes import Modes
from irosh.transport.tasks import task_group

log = logging.getLogger(__name__)

WELCOME_DEADLINE = 15.0
_STOPPED = IroshError(ErrorCode.SHUTTING_DOWN, "the other node has stopped")


@dataclass(frozen=True)
class Reached:
    """A peer with a live connection to it."""

    peer: Peer
    connection: PeerConnection
    destination: Destination
    newly_pinned: bool


@dataclass(frozen=True)
class InviteTerms:
    """What an invite shall grant; None leaves it to the configuration. ``lifetime`` in seconds."""

    capabilities: tuple[str, ...] | None = None
    uses: int | None = None
    lifetime: float | None = None
    factors: tuple[str, ...] | None = None


DEFAULT_TERMS = InviteTerms()


@dataclass(frozen=True)
class Invite:
    """A new invite: its secret and what it grants."""

    secret: bytes = field(repr=False)
    capabilities: tuple[Capability, ...]
    uses: int
    expires_at: float
    factors: tuple[Factor, ...]


class Node:
    """Runs from :meth:`run` until :meth:`stop`. ``hosting``: accept connections from peers."""

    def __init__(
        self,
        *,
        state: StateDirectory,
        identity: Identity,
        config: Config,
        trust: TrustStore,
        modes: Modes,
        travel: Travel,
        services: Sequence[Service],
        hosting: bool,
        authorized_keys: Path | None = None,
    ) -> None:
        self.state = state
        self.identity = identity
        self.config = config
        self.trust = trust
        self.modes = modes
        self.hosting = hosting
        self.started_at = time.time()
        self.auditor = Auditor(trust)
        self.registry = Registry(services)
        revoked = RevokedKeys(config.host.revoked_keys)
        factors = FactorSettings(config.host.factor_attempts, config.host.factor_lifetime)
        gate = FactorGate(trust, self.auditor, factors, revoked)
        self.warrants = Warrants(trust, self._warrant_settings(authorized_keys or config.host.authorized_keys), revoked)
        if hosting:
            self.warrants.check_files()
        self.presented = Presented(state.certificate_path)
        self.authorizer = Authorizer(trust, self.auditor, gate, self.warrants)
        self.machines = ShownMachines(self.authorizer)
        doorway = Doorway(
            trust,
            self.auditor,
            self.authorizer,
            self.registry,
            socket.gethostname()[:255],
            own_user(),
            config.session,
            secrets.token_bytes(8),
            self.warrants,
            self.presented,
            self.machines,
        )
        self.metrics_url: str | None = None
        self.guests = Guests(trust, self.auditor)
        self.collector = Collector(trust.metrics_history)
        self._through = Through(identity.secret, travel)
        self.links = Links(modes, self._through, doorway, trust, self.collector, identity.secret)
        self._operations: dict[str, Operation] = {}
        self.control = ControlServer(state.control_socket_path, self._operations)
        for service in services:
            self._operations.update(service.operations(self))
        self._stop = asyncio.Event()

    def _warrant_settings(self, keys: Path | None) -> WarrantSettings:
        host = self.config.host
        # In these modes a TURN server may be between, and what it brings seems to come from this machine.
        turn = {Mode.CUSTOM, Mode.NOSTR}
        return WarrantSettings(
            own_user(),
            parse_capabilities(host.allow),
            parse_factors(host.require),
            keys,
            lambda: not turn.isdisjoint(self.modes.hosted),
        )

    def add_operations(self, operations: dict[str, Operation]) -> None:
        """Add to what the control socket offers."""
        self._operations.update(operations)

    def stop(self) -> None:
        """Have :meth:`run` return."""
        self._stop.set()

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until stopped; ``on_ready`` is called once the control socket takes requests. Cancelling stops too."""
        listener = self.control.bind()
        try:
            async with task_group() as group:
                self.links.attach(group)
                control = group.create_task(self.control.serve(listener))
                accepting = group.create_task(self.links.accept_all()) if self.hosting else None
                measuring = group.create_task(self.collector.run())
                on_ready()
                await self._stop.wait()
                control.cancel()
                measuring.cancel()
                if accepting is not None:
                    accepting.cancel()
                await self._say_goodbye()
        finally:
            listener.close()
            self.collector.close()

    async def _say_goodbye(self) -> None:
        """Those behind others first, as what they are told goes by the links to these."""
        connections = self.links.connections()

        def end(depth: int) -> None:
            for connection in connections:
                if depth == (len(connection.via) if connection.through is None else GUEST_DEPTH):
                    connection.close(_STOPPED)

        await self._through.close(end)
        end(0)

    def close_peer(self, peer_id: str, error: IroshError) -> int:
        """End all that a peer has here, telling it why; returns how many connections there were."""
        return self.links.close_peer(peer_id, error) + self.guests.close(peer_id, error)

    def knows(self, peer_id: str) -> bool:
        """Whether ``peer_id`` belongs to an active peer, or its key is in ``authorized_keys``."""
        return self.trust.active(peer_id) is not None or self.warrants.admission(peer_id, None) is not None

    def snapshot(self) -> Snapshot:
        """What the node's metrics are now."""
        names = {peer.id: peer.petname for peer in self.trust.peers()}
        return Snapshot(
            self.started_at,
            self.hosting,
            self.collector.peers(),
            names,
            self.collector.services(),
            self.auditor.lost_entries,
            self.collector.recorder.lost_rows,
        )

    async def metrics_text(self) -> bytes:
        """For Prometheus; see :mod:`irosh.node.metrics.prometheus`."""
        return await asyncio.to_thread(self.snapshot().text)

    def create_invite(self, terms: InviteTerms) -> Invite:
        """A fresh invite. ``IroshError`` (invalid-capability, …)."""
        host = self.config.host
        allowed = parse_capabilities(host.allow if terms.capabilities is None else terms.capabilities)
        uses = host.invite_uses if terms.uses is None else terms.uses
        lifetime = host.invite_expires if terms.lifetime is None else terms.lifetime
        factors = parse_factors(host.require if terms.factors is None else terms.factors)
        secret = self.trust.create_invite(allowed, uses=uses, lifetime=lifetime, factors=factors)
        required = f"; requires {' '.join(factors)}" if factors else ""
        self.auditor.record("invite", None, "changed", f"{uses} use(s): {' '.join(map(str, allowed))}{required}")
        return Invite(secret, allowed, uses, time.time() + lifetime, factors)

    def ticket(self, invite: bytes | None) -> Ticket:
        """A ticket for this node as it can be reached now."""
        contact = self.modes.contact()
        return Ticket.fitting(
            self.identity.id,
            relays=contact.relays,
            addresses=contact.addresses,
            invite=invite,
            mode=self.modes.first_hosted,
            npub=contact.npub,
            nostr_relays=contact.nostr_relays,
        )

    async def reach(self, asked: TargetRequest, exchange: Exchange | None = None, *, proven: bool = True) -> Reached:
        """Connect to a target, pinning it the first time as ``asked.name`` or as its host calls itself.

        ``proven``: as one that takes what second factors it was given before, if it asked for any.

        ``IroshError``: what :func:`resolve_target` and dialling raise; name-taken, and identity-mismatch when ``name``
        is pinned to another identity.
        """
        name = asked.name
        target = resolve_target(self.trust, self.identity.id, asked, exchange)
        if target.destination.peer_id is not None:
            self._check_name(target.destination.peer_id, name)
        if asked.certificate is not None and target.destination.peer_id is not None:
            self.presented.choose(target.destination.peer_id, Path(asked.certificate))
        try:
            async with asyncio.timeout(asked.connect_timeout) as limit:
                connection = await self.links.get(target.destination)
        except TimeoutError:
            if not limit.expired():
                raise
            reason = f"no connection within {asked.connect_timeout:g} s"
            raise IroshError(ErrorCode.TIMEOUT, reason, "ConnectTimeout says how long to try") from None
        self._check_name(connection.peer_id, name)
        if proven:
            connection.check_proven()
        mode = target.destination.mode
        behind_hops = target.destination.way is not None
        as_known = (
            target.peer is not None
            and target.destination.contact.invite is None
            and (behind_hops or mode == target.peer.mode)
        )
        if target.peer is not None and as_known and name is None:
            return Reached(target.peer, connection, target.destination, newly_pinned=False)
        try:
            async with asyncio.timeout(WELCOME_DEADLINE):
                welcome = await asyncio.shield(connection.welcome)
        except TimeoutError:
            raise IroshError(ErrorCode.TIMEOUT, "the peer did not greet back") from None
        known = target.peer or self.trust.get(connection.peer_id)
        peer = known or self._pin(connection.peer_id, name, welcome)
        if name is not None and peer.petname != name:
            peer = self.trust.rename(peer.id, name)
        # Once pinned, the invite is spent; a redial must not present it again.
        contact = replace(target.destination.contact, endpoint_id=peer.id, invite=None)
        if behind_hops:
            return Reached(peer, connection, replace(target.destination, contact=contact), newly_pinned=known is None)
        try:
            self.trust.remember_route(peer.id, contact.addresses, contact.relays, welcome.user or None)
            # What a flag chose for once is not what the peer is met by from now on.
            remembered = mode if known is None or asked.mode is None else Mode(known.mode)
            self.trust.remember_rendezvous(peer.id, remembered, contact.npub, contact.nostr_relays)
        except IroshError as error:
            log.warning("cannot note how %s was reached: %s", peer.petname, error)
        return Reached(peer, connection, replace(target.destination, contact=contact), newly_pinned=known is None)

    def _check_name(self, peer_id: str, name: str | None) -> None:
        if name is None:
            return
        holder = self.trust.find(name)
        if holder is not None and holder.id != peer_id:
            raise IroshError(
                ErrorCode.IDENTITY_MISMATCH,
                f"{name!r} is pinned to identity {short_id(holder.id)}…, but this target is {short_id(peer_id)}…",
                f"if the machine has a new identity: irosh peer remove {name}; else choose another --name",
            )

    def _pin(self, peer_id: str, name: str | None, welcome: Welcome) -> Peer:
        # Two machines may call themselves alike; the ticket says which one this is.
        petname = name if name is not None else self.trust.free_petname(welcome.hostname, peer_id)
        return self.trust.pin(peer_id, petname=petname, origin="ticket")


def own_user() -> str:
    """The Unix user this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
