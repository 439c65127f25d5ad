"""A pinned peer with no node of its own: admitted by a host, and free to misbehave on its streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.wire import StreamAnswer, StreamHeader, Welcome, encode_request, error_in
from irosh.node.node import Node
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection
from irosh.transport.wheel import WheelEndpoint
from tests.support.nodes import DEADLINE, bare_endpoint, open_foreign_stream, pin, running_node, say_hello


@asynccontextmanager
async def admitted(tmp_path: Path, capabilities: list[str]) -> AsyncIterator[tuple[Node, Connection, str]]:
    """A host, the connection of a pinned peer, and the peer's id."""
    peer = Identity.generate()
    async with running_node(tmp_path / "host") as host, bare_endpoint(peer) as endpoint, asyncio.timeout(DEADLINE):
        pin(host, peer, "mallory", capabilities)
        connection, _ = await welcomed(endpoint, host)
        yield host, connection, peer.id


async def welcomed(endpoint: WheelEndpoint, host: Node) -> tuple[Connection, Welcome]:
    """A new connection, and how the host welcomes it."""
    connection = await endpoint.connect(host.modes.contact().route())
    hello = await say_hello(connection)
    return connection, await read_frame(hello, Welcome, deadline=DEADLINE)


async def ask(connection: Connection, service: str, request: msgspec.Struct) -> tuple[CarrierStream, IroshError | None]:
    """Open a stream and wait for its answer."""
    stream = await open_foreign_stream(connection)
    await write_frame(stream, StreamHeader(service, encode_request(request)))
    return stream, error_in(await read_frame(stream, StreamAnswer, deadline=DEADLINE))


async def refusal(connection: Connection, service: str, request: msgspec.Struct) -> ErrorCode:
    """The code a stream is refused with."""
    _, error = await ask(connection, service, request)
    assert error is not None
    return error.code
