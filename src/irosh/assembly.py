"""Puts the parts together: the one place that knows which rendezvous and which services a node is made of."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from irosh.core.bind_address import bind_addresses
from irosh.core.config import Config, load_config
from irosh.core.endpoint_address import check_relay_url
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import load_or_create_identity
from irosh.core.state import StateDirectory
from irosh.core.trust import TrustStore
from irosh.node.node import Node
from irosh.node.operations import node_operations
from irosh.rendezvous.iroh_default import IrohDefault
from irosh.services.shell.service import ShellService
from irosh.services.tunnel.service import TunnelService
from irosh.transport.wheel import EndpointSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeOptions:
    """What the command line says of a node; None leaves it to ``config.toml``."""

    state: Path
    hosting: bool
    relays: tuple[str, ...] | None = None
    bind: str | None = None


@asynccontextmanager
async def assembled_node(options: NodeOptions) -> AsyncIterator[Node]:
    """A node, ready to run, that holds its state directory's lock. ``IroshError``: state-in-use, bind-failed, …"""
    state = StateDirectory(options.state).ensure()
    config = load_config(state.config_path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(state.lock())
        identity = load_or_create_identity(state.identity_path)
        trust = stack.enter_context(TrustStore(state.database_path))
        rendezvous = await IrohDefault.start(_endpoint_settings(options, config, identity.secret))
        shell = ShellService(identity)
        try:
            node = Node(
                state=state,
                identity=identity,
                config=config,
                trust=trust,
                rendezvous=rendezvous,
                services=[shell, TunnelService(udp_idle=config.tunnel.udp_idle)],
                hosting=options.hosting,
            )
            node.add_operations(node_operations(node))
            await rendezvous.wait_reachable(hosting=options.hosting)
            yield node
        finally:
            await shell.aclose()
            await rendezvous.close()


def _endpoint_settings(options: NodeOptions, config: Config, secret: bytes) -> EndpointSettings:
    relays = options.relays if options.relays is not None else config.network.relays
    bind = options.bind or config.network.bind
    return EndpointSettings(
        secret=secret,
        bind=bind_addresses(bind),
        relays=None if relays is None else tuple(_checked_relay(url) for url in relays),
        relay_token=config.relay_token,
        accepts=options.hosting,
    )


def _checked_relay(url: str) -> str:
    try:
        return check_relay_url(url)
    except ValueError as error:
        raise IroshError(ErrorCode.INVALID_ADDRESS, str(error), "such as https://relay.example") from None
