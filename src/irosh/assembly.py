"""Puts the parts together: the one place that knows which rendezvous and which services a node is made of."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from irosh.core.bind_address import bind_addresses
from irosh.core.config import load_config
from irosh.core.identity import Identity, load_or_create_identity
from irosh.core.mode import Mode
from irosh.core.network_choice import NOTHING_CHOSEN, NetworkChoice
from irosh.core.network_options import NetworkOptions
from irosh.core.state import StateDirectory
from irosh.core.trust import TrustStore
from irosh.node.node import DEFAULT_TERMS, InviteTerms, Node
from irosh.node.operations import node_operations
from irosh.node.places import Places
from irosh.rendezvous.interfaces import Exchange, Hosting, Rendezvous
from irosh.rendezvous.iroh_default import IrohDefault
from irosh.rendezvous.modes import Modes, Starter
from irosh.rendezvous.relay_fallback import RelayFallback
from irosh.services.factor.service import FactorService
from irosh.services.files.subsystems import FileSubsystems
from irosh.services.files.transfer.service import FilesService
from irosh.services.shell.gateway_service import GatewayService
from irosh.services.shell.guest_service import GuestService
from irosh.services.shell.jump_service import JumpService
from irosh.services.shell.persistent.service import SessionService
from irosh.services.shell.service import ENTRY, ShellService
from irosh.services.telemetry.service import TelemetryService
from irosh.services.tunnel.listening import ListenService
from irosh.services.tunnel.remote_forward import ForwardedService
from irosh.services.tunnel.service import TunnelService
from irosh.services.vpn.service import VpnService
from irosh.transport.wheel import EndpointSettings

log = logging.getLogger(__name__)

MAX_PROGRAMS = 64  # for the files of one peer, by SSH or natively: each takes some 10 MB
LOOPBACK = ("127.0.0.1:0", "[::1]:0")
"""Where an endpoint binds that shall have no direct path."""


@dataclass(frozen=True)
class NodeOptions:
    """What the command line says of a node. ``hosting``: let peers in, by ``modes``."""

    state: Path
    hosting: bool
    modes: tuple[Mode, ...] = (Mode.IROH_DEFAULT,)
    network: NetworkChoice = NOTHING_CHOSEN
    exchange: Exchange | None = None
    metrics_listen: str | None = None
    authorized_keys: Path | None = None
    """Whose keys get in without an invite; None: as the configuration says."""
    offered: InviteTerms = DEFAULT_TERMS
    """What the invite in an offer of a manual mode grants."""


@asynccontextmanager
async def assembled_node(options: NodeOptions) -> AsyncIterator[Node]:
    """A node, ready to run, that holds its state directory's lock. ``IroshError``: state-in-use, bind-failed, …"""
    state = StateDirectory(options.state).ensure()
    config = load_config(state.config_path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(state.lock())
        identity = load_or_create_identity(state.identity_path)
        trust = stack.enter_context(TrustStore(state.database_path))
        modes, fallback = _modes(identity, options.network.applied_to(config.network_options()))
        sessions = SessionService()
        programs = Places(MAX_PROGRAMS, "sessions for files open")
        shell = ShellService(identity, FileSubsystems(), programs, sessions)
        tunnel = TunnelService(shell.find_way, udp_idle=config.tunnel.udp_idle)
        try:
            node = Node(
                state=state,
                identity=identity,
                config=config,
                trust=trust,
                modes=modes,
                travel=shell.travel,
                services=[
                    shell,
                    JumpService(),
                    GuestService(ENTRY),
                    GatewayService(),
                    sessions,
                    tunnel,
                    ListenService(),
                    ForwardedService(tunnel.promises),
                    FilesService(programs),
                    TelemetryService(),
                    VpnService(identity.id, config.vpn),
                    FactorService(identity.id),
                ],
                hosting=options.hosting,
                authorized_keys=options.authorized_keys,
            )
            node.add_operations(node_operations(node))
            async with _metrics_served(node, options.metrics_listen or config.metrics.listen):
                if options.hosting:
                    hosting = Hosting(
                        options.exchange,
                        lambda: node.create_invite(options.offered).secret,
                        node.knows,
                        trust.check_invite,
                    )
                    await modes.host(options.modes, hosting)
                yield node
        finally:
            await sessions.aclose()
            await shell.aclose()
            await tunnel.aclose()
            await modes.close()
            await fallback.close()


@asynccontextmanager
async def _metrics_served(node: Node, address: str | None) -> AsyncIterator[None]:
    if address is None or not node.hosting:
        yield
        return
    from irosh.node.metrics.http import metrics_endpoint  # late: it brings the relay's parts with it

    async with metrics_endpoint(address, node.metrics_text) as node.metrics_url:
        yield


def _modes(identity: Identity, own: NetworkOptions) -> tuple[Modes, RelayFallback]:
    started: list[IrohDefault] = []
    # A relay serves only the newest endpoint of one identity: all modes share it.
    fallback = RelayFallback(identity.secret, own, lambda: started[0].endpoint if started else None)

    async def iroh_default(options: NetworkOptions, hosting: Hosting | None) -> Rendezvous:
        settings = EndpointSettings(
            secret=identity.secret,
            bind=LOOPBACK if options.relay_only else bind_addresses(options.bind),
            relays=options.relays,
            relay_token=options.relay_token,
            accepts=hosting is not None,
        )
        rendezvous = await IrohDefault.start(settings, mdns=options.mdns, stun_servers=options.stun_servers)
        started.append(rendezvous)
        await rendezvous.wait_reachable(hosting=hosting is not None)
        return rendezvous

    async def iroh_manual(options: NetworkOptions, hosting: Hosting | None) -> Rendezvous:
        from irosh.rendezvous.iroh_manual import IrohManual

        return await IrohManual.start(identity, options, hosting)

    def shared(options: NetworkOptions) -> RelayFallback | None:
        return fallback if options.relay_only == own.relay_only else None

    async def custom(options: NetworkOptions, hosting: Hosting | None) -> Rendezvous:
        from irosh.rendezvous.custom import Custom

        return await Custom.start(identity, options, hosting, shared(options))

    async def nostr(options: NetworkOptions, hosting: Hosting | None) -> Rendezvous:
        from irosh.rendezvous.nostr import Nostr

        return await Nostr.start(identity, options, hosting, shared(options))

    starters: dict[Mode, Starter] = {
        Mode.IROH_DEFAULT: iroh_default,
        Mode.IROH_MANUAL: iroh_manual,
        Mode.CUSTOM: custom,
        Mode.NOSTR: nostr,
    }
    return Modes(starters, own, identity.id), fallback
