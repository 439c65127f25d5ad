"""Further connections of a session: who may join one, how many, and what a wrong secret gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode
from irosh.core.identity import Identity
from irosh.core.paths import Paths
from irosh.core.wire import PROTOCOL_VERSION, Hello, Resume, Welcome
from irosh.node.node import Node
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection, ConnectionLost, StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.multi_session import MAX_CARRIERS
from irosh.transport.wheel import WheelEndpoint
from tests.support.nodes import DEADLINE, bare_endpoint, pin, running_node


@dataclass
class Guest:
    """A pinned peer with a session of its own on ``host``."""

    host: Node
    endpoint: WheelEndpoint
    welcome: Welcome
    kept: list[tuple[Connection, CarrierStream]]

    @property
    def carriers(self) -> list[Carrier]:
        """Those of the session, at the host."""
        (connection,) = self.host.links.connections()
        return connection.session.carriers()

    async def join(self, token: bytes | None = None, endpoint: WheelEndpoint | None = None) -> Connection:
        """One more connection that claims the session."""
        resume = Resume(self.welcome.session, token or self.welcome.token, join=True)
        connection = await (endpoint or self.endpoint).connect(self.host.modes.contact().route())
        self.kept.append((connection, await connection.open_stream()))
        await write_frame(self.kept[-1][1], Hello(PROTOCOL_VERSION, resume=resume, paths="all"))
        return connection

    async def refusal(self, connection: Connection) -> ErrorCode:
        """What the connection that was to join is told."""
        return (await connection.wait_closed()).code

    async def joined(self) -> None:
        """Wait for the host's welcome to the last that was to join."""
        await read_frame(self.kept[-1][1], Welcome, deadline=DEADLINE)


@asynccontextmanager
async def guest(tmp_path: Path, paths: Paths) -> AsyncIterator[Guest]:
    peer = Identity.generate()
    async with running_node(tmp_path / "host") as host, bare_endpoint(peer) as endpoint, asyncio.timeout(DEADLINE):
        pin(host, peer, "guest", [])
        connection = await endpoint.connect(host.modes.contact().route())
        control = await connection.open_stream()
        await write_frame(control, Hello(PROTOCOL_VERSION, paths=paths))
        welcome = await read_frame(control, Welcome, deadline=DEADLINE)
        yield Guest(host, endpoint, welcome, [(connection, control)])


def test_connections_join_up_to_a_number(tmp_path: Path) -> None:
    async def body() -> None:
        async with guest(tmp_path, Paths.ALL) as peer:
            assert peer.welcome.addresses
            for number in range(2, MAX_CARRIERS + 1):
                await peer.join()
                await peer.joined()
                while len(peer.carriers) < number:
                    await asyncio.sleep(0.01)
            assert await peer.refusal(await peer.join()) == ErrorCode.BUSY
            assert len(peer.carriers) == MAX_CARRIERS

    asyncio.run(body())


def test_a_wrong_secret_joins_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with guest(tmp_path, Paths.ALL) as peer:
            assert await peer.refusal(await peer.join(token=bytes(32))) == ErrorCode.SESSION_UNKNOWN
            assert len(peer.carriers) == 1
            assert not peer.kept[0][0].is_closed

    asyncio.run(body())


def test_another_peer_joins_nothing_even_with_the_secret(tmp_path: Path) -> None:
    async def body() -> None:
        thief = Identity.generate()
        async with guest(tmp_path, Paths.ALL) as peer, bare_endpoint(thief) as endpoint:
            pin(peer.host, thief, "thief", [])
            assert await peer.refusal(await peer.join(endpoint=endpoint)) == ErrorCode.SESSION_UNKNOWN
            assert len(peer.carriers) == 1

    asyncio.run(body())


def test_a_session_with_one_path_at_a_time_takes_no_second(tmp_path: Path) -> None:
    async def body() -> None:
        async with guest(tmp_path, Paths.FASTEST) as peer:
            assert not peer.welcome.addresses
            assert await peer.refusal(await peer.join()) == ErrorCode.PROTOCOL
            assert not peer.kept[0][0].is_closed

    asyncio.run(body())


def test_an_unknown_use_of_paths_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        peer = Identity.generate()
        async with running_node(tmp_path / "host") as host, bare_endpoint(peer) as endpoint, asyncio.timeout(DEADLINE):
            pin(host, peer, "guest", [])
            connection = await endpoint.connect(host.modes.contact().route())
            control = await connection.open_stream()
            await write_frame(control, Hello(PROTOCOL_VERSION, paths="sideways"))
            with pytest.raises((ConnectionLost, StreamReset, EOFError)):
                await control.read_exactly(1)
            assert (await connection.wait_closed()).code == ErrorCode.PROTOCOL

    asyncio.run(body())
