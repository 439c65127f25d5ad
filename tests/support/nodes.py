"""Real nodes and bare endpoints on loopback, inside the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from weakref import WeakKeyDictionary

from irosh.assembly import NodeOptions, assembled_node
from irosh.core.capability import parse_capabilities
from irosh.core.identity import Identity
from irosh.core.network_choice import NetworkChoice
from irosh.core.session_settings import SessionSettings
from irosh.core.wire import PROTOCOL_VERSION, Hello
from irosh.node.destination import Destination
from irosh.node.node import Node
from irosh.rendezvous.interfaces import Contact
from irosh.transport.framing import write_frame
from irosh.transport.interfaces import CarrierStream, Connection, Route
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.frames import StartKind, StreamStart
from irosh.transport.session.lifetime import Credentials
from irosh.transport.session.session import Session
from irosh.transport.wheel import EndpointSettings, WheelEndpoint, bind_endpoint

LOOPBACK = ("127.0.0.1:0", "[::1]:0")
DEADLINE = 60.0


@asynccontextmanager
async def running_node(
    state: Path, *, hosting: bool = True, authorized_keys: Path | None = None
) -> AsyncIterator[Node]:
    """A node that serves its control socket and, when hosting, peers; without any relay."""
    network = NetworkChoice(relays=(), bind="127.0.0.1:0")
    options = NodeOptions(state=state, hosting=hosting, network=network, authorized_keys=authorized_keys)
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
async def linked_nodes(directory: Path, capabilities: Sequence[str]) -> AsyncIterator[tuple[Node, Node, Destination]]:
    """A host, another node that it has granted ``capabilities``, and how that one dials it."""
    async with (
        running_node(directory / "host") as host,
        running_node(directory / "client", hosting=False) as client,
        asyncio.timeout(DEADLINE),
    ):
        pin(host, client.identity, "client", capabilities)
        contact = Contact(host.identity.id, addresses=host.modes.contact().addresses)
        yield host, client, Destination(contact)


@asynccontextmanager
async def bare_endpoint(
    identity: Identity | None = None, *, bind: tuple[str, ...] = LOOPBACK
) -> AsyncIterator[WheelEndpoint]:
    """An endpoint without a node: what a foreign or hostile program could be."""
    secret = (identity or Identity.generate()).secret
    endpoint = await bind_endpoint(EndpointSettings(secret=secret, bind=bind, relays=()))
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


@dataclass(frozen=True)
class CarrierEnd:
    """One end of a connection that can carry a session."""

    connection: Connection
    control: CarrierStream


async def connect_pair(dialler: WheelEndpoint, acceptor: WheelEndpoint) -> tuple[CarrierEnd, CarrierEnd]:
    """Both ends of a new connection, the dialler's first."""
    accepting = asyncio.create_task(acceptor.accept())
    near = await dialler.connect(acceptor.route())
    far = await accepting
    assert far is not None
    control = await near.open_stream()
    await control.write(b"!")
    other = await far.accept_stream()
    await other.read_exactly(1)
    return CarrierEnd(near, control), CarrierEnd(far, other)


@asynccontextmanager
async def session_of(end: CarrierEnd, settings: SessionSettings | None, *, dialed: bool) -> AsyncIterator[Session]:
    """A running session, first carried by ``end``."""
    settings = settings or SessionSettings()
    session = Session(Carrier(end.connection, end.control, settings), settings, dialed=dialed)
    session.established(Credentials(b"s", b"t"), resume_for=settings.resume_for, replay_buffer=settings.replay_buffer)
    running = asyncio.create_task(session.run())
    try:
        yield session
    finally:
        session.close()
        await running


@asynccontextmanager
async def session_pair(settings: SessionSettings | None = None) -> AsyncIterator[tuple[Session, Session]]:
    """Both ends of one session, on a connection between bare endpoints."""
    async with bare_endpoint() as dialler, bare_endpoint() as acceptor, asyncio.timeout(DEADLINE):
        near, far = await connect_pair(dialler, acceptor)
        async with session_of(near, settings, dialed=True) as one, session_of(far, settings, dialed=False) as other:
            yield one, other


_foreign_numbers: WeakKeyDictionary[Connection, Iterator[int]] = WeakKeyDictionary()


async def open_foreign_stream(connection: Connection) -> CarrierStream:
    """A stream of a session, opened by a program that has no session of its own."""
    number = next(_foreign_numbers.setdefault(connection, count(0, 2)))
    stream = await connection.open_stream()
    await stream.write(StreamStart(StartKind.FRESH, number).pack())
    return stream


async def greet(endpoint: WheelEndpoint, route: Route, *, invite: bytes | None = None) -> Connection:
    """Connect to a node and say hello, as the protocol asks."""
    connection = await endpoint.connect(route)
    await say_hello(connection, invite=invite)
    return connection


_control_streams: WeakKeyDictionary[Connection, CarrierStream] = WeakKeyDictionary()


async def say_hello(connection: Connection, *, invite: bytes | None = None) -> CarrierStream:
    """The first words on a connection. The stream stays open, as it ends the session when it ends."""
    stream = _control_streams[connection] = await connection.open_stream()
    await write_frame(stream, Hello(PROTOCOL_VERSION, invite))
    return stream


def pin(node: Node, identity: Identity, name: str, capabilities: Sequence[str]) -> None:
    """Make ``identity`` a peer of ``node``."""
    node.trust.pin(identity.id, petname=name, origin="manual", capabilities=parse_capabilities(capabilities))
