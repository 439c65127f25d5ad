"""A peer that speaks the protocol by hand, session by session, at a real host."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from irosh.core.errors import ErrorCode
from irosh.core.identity import Identity
from irosh.core.wire import PROTOCOL_VERSION, Hello, Resume, StreamAnswer, StreamHeader, Welcome, encode_request
from irosh.node.node import Node
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection
from irosh.transport.session.frames import RESUMED_SIZE, StartKind, StreamResumed, StreamStart, unpack_resumed
from irosh.transport.wheel import WheelEndpoint
from tests.support.nodes import DEADLINE, bare_endpoint, pin, running_node

MiB = 1024 * 1024


@dataclass
class Visit:
    """One connection of a peer that speaks the protocol by hand."""

    connection: Connection
    control: CarrierStream

    async def welcome(self) -> Welcome:
        return await read_frame(self.control, Welcome, deadline=DEADLINE)

    async def refusal(self) -> ErrorCode:
        """With what reason the host closes it."""
        return (await self.connection.wait_closed()).code

    async def open_tunnel(self, port: int, number: int) -> CarrierStream:
        stream = await self.connection.open_stream()
        await stream.write(StreamStart(StartKind.FRESH, number).pack())
        await write_frame(stream, StreamHeader("tunnel", encode_request(TunnelRequest(f"tcp://127.0.0.1:{port}"))))
        answer = await read_frame(stream, StreamAnswer, deadline=DEADLINE)
        assert answer.error is None
        return stream

    async def resume_stream(self, number: int, received: int) -> tuple[CarrierStream, StreamResumed]:
        stream = await self.connection.open_stream()
        await stream.write(StreamStart(StartKind.RESUMED, number, received).pack())
        return stream, unpack_resumed(await stream.read_exactly(RESUMED_SIZE))


@dataclass
class Peer:
    """A pinned peer of ``host``."""

    host: Node
    endpoint: WheelEndpoint

    async def visit(self, resume: Resume | None = None, instance: bytes = b"first") -> Visit:
        connection = await self.endpoint.connect(self.host.modes.contact().route())
        control = await connection.open_stream()
        await write_frame(control, Hello(PROTOCOL_VERSION, resume=resume, instance=instance, replay_buffer=MiB))
        return Visit(connection, control)

    async def enter(self, resume: Resume | None = None, instance: bytes = b"first") -> tuple[Visit, Welcome]:
        """A visit that the host welcomes, and how it does so."""
        visit = await self.visit(resume, instance)
        return visit, await visit.welcome()

    async def refused(self, resume: Resume) -> ErrorCode:
        return await (await self.visit(resume)).refusal()

    async def sessions(self, wanted: Callable[[int, int], bool]) -> None:
        """Wait until ``wanted`` is true of how many sessions the host has with this peer, and how many wait."""
        while True:
            live = self.host.links.connections(self.endpoint.id)
            if wanted(len(live), sum(connection.session.is_down for connection in live)):
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def host(tmp_path: Path, config: str = "") -> AsyncIterator[Node]:
    state = tmp_path / "host"
    state.mkdir(mode=0o700)
    if config:
        (state / "config.toml").write_text(config)
    async with asyncio.timeout(DEADLINE), running_node(state) as node:
        yield node


@asynccontextmanager
async def peer_of(node: Node, name: str) -> AsyncIterator[Peer]:
    identity = Identity.generate()
    pin(node, identity, name, ["forward:tcp://127.0.0.1:*"])
    async with bare_endpoint(identity) as endpoint:
        yield Peer(node, endpoint)


async def echoes(stream: CarrierStream, text: bytes = b"still mine") -> None:
    """The tunnel carries bytes both ways."""
    await stream.write(text)
    assert await stream.read_exactly(len(text)) == text


def claim(welcome: Welcome) -> Resume:
    return Resume(welcome.session, welcome.token)
