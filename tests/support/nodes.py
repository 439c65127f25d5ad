"""Real nodes and bare endpoints on loopback, inside the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from irosh.assembly import NodeOptions, assembled_node
from irosh.core.capability import parse_capabilities
from irosh.core.identity import Identity
from irosh.core.network_options import NetworkChoice
from irosh.core.wire import PROTOCOL_VERSION, Hello
from irosh.node.node import Node
from irosh.transport.framing import write_frame
from irosh.transport.interfaces import Connection, Route
from irosh.transport.wheel import EndpointSettings, WheelEndpoint, bind_endpoint

LOOPBACK = ("127.0.0.1:0", "[::1]:0")
DEADLINE = 60.0


@asynccontextmanager
async def running_node(state: Path, *, hosting: bool = True) -> AsyncIterator[Node]:
    """A node that serves its control socket and, when hosting, peers; without any relay."""
    options = NodeOptions(state=state, hosting=hosting, network=NetworkChoice(relays=(), bind="127.0.0.1:0"))
    async with assembled_node(options) as node:
        ready = asyncio.Event()
        serving = asyncio.create_task(node.run(ready.set))
        try:
            await ready.wait()
            yield node
        finally:
            node.stop()
            async with asyncio.timeout(DEADLINE):
                await serving


@asynccontextmanager
async def bare_endpoint(identity: Identity | None = None) -> AsyncIterator[WheelEndpoint]:
    """An endpoint without a node: what a foreign or hostile program could be."""
    secret = (identity or Identity.generate()).secret
    endpoint = await bind_endpoint(EndpointSettings(secret=secret, bind=LOOPBACK, relays=()))
    try:
        yield endpoint
    finally:
        await endpoint.close()


@asynccontextmanager
async def connected_pair() -> AsyncIterator[tuple[Connection, Connection]]:
    """Both ends of one connection between bare endpoints."""
    async with bare_endpoint() as dialler, bare_endpoint() as acceptor, asyncio.timeout(DEADLINE):
        accepting = asyncio.create_task(acceptor.accept())
        near = await dialler.connect(acceptor.route())
        far = await accepting
        assert far is not None
        yield near, far


async def greet(endpoint: WheelEndpoint, route: Route, *, invite: bytes | None = None) -> Connection:
    """Connect to a node and say hello, as the protocol asks."""
    connection = await endpoint.connect(route)
    stream = await connection.open_stream()
    await write_frame(stream, Hello(PROTOCOL_VERSION, invite))
    return connection


def pin(node: Node, identity: Identity, name: str, capabilities: Sequence[str]) -> None:
    """Make ``identity`` a peer of ``node``."""
    node.trust.pin(identity.id, petname=name, origin="manual", capabilities=parse_capabilities(capabilities))
