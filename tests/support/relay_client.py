"""A relay's client by hand: every frame under the test's control."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from irosh.core.identity import Identity
from irosh.transport.relay import RelayConfig, RelayServer, codec, handshake
from irosh.transport.relay.frames import (
    ClientFrame,
    Datagrams,
    Ping,
    Pong,
    RelayFrame,
    ServerChallenge,
    ServerConfirmsAuth,
)

DEADLINE = 30.0
"""Seconds for anything that is sure to come."""
ALICE, BOB, CAROL = (Identity.from_secret(bytes((number,)) * 32) for number in (1, 2, 3))


def run(body: Coroutine[Any, Any, None]) -> None:
    """Runs a test's body, and checks that it leaves no task behind."""

    async def main() -> None:
        async with asyncio.timeout(120):
            await body
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others

    asyncio.run(main())


def relay(**settings: Any) -> RelayServer:
    """A relay on any free port of loopback."""
    return RelayServer(RelayConfig(**({"port": 0} | settings)))


async def until(condition: Callable[[], bool]) -> None:
    """Returns when ``condition`` holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.005)


class Client:
    """A relay client by hand."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def send(self, frame: ClientFrame) -> None:
        await self.websocket.send(codec.encode_client_frame(frame))

    async def send_to(self, peer: Identity, payload: bytes) -> None:
        await self.send(Datagrams(peer.public, 0, None, payload))

    async def receive(self) -> RelayFrame:
        async with asyncio.timeout(DEADLINE):
            message = await self.websocket.recv()
        assert isinstance(message, bytes)
        return codec.decode_relay_frame(message)

    async def authenticate(self, identity: Identity) -> RelayFrame:
        """Answers the challenge; returns what the relay says to that."""
        challenge = await self.receive()
        assert isinstance(challenge, ServerChallenge)
        await self.send(handshake.answer(identity.secret, challenge.challenge))
        return await self.receive()

    async def synchronise(self) -> None:
        """Returns when the relay has handled all that was sent before, and nothing else had come in."""
        await self.send(Ping(b"in sync?"))
        assert await self.receive() == Pong(b"in sync?")

    async def closed(self) -> tuple[int, str]:
        """Waits until the relay has closed the connection; its code and reason."""
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(ConnectionClosed):
                while True:
                    await self.websocket.recv()
        return self.websocket.close_code or 0, self.websocket.close_reason or ""


@asynccontextmanager
async def connected(
    server: RelayServer, *, token: str = "", version: str = "iroh-relay-v2", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    """A client that has not authenticated."""
    async with connect(
        server.url.replace("http", "ws", 1) + "/relay",
        subprotocols=[Subprotocol(version)],
        additional_headers={"Authorization": f"Bearer {token}"} if token else {},
        compression=None,
        ping_interval=None,
        proxy=None,
        ssl=tls,
    ) as websocket:
        yield Client(websocket)


@asynccontextmanager
async def joined(server: RelayServer, identity: Identity, **options: Any) -> AsyncIterator[Client]:
    """A client that has authenticated as ``identity``."""
    async with connected(server, **options) as client:
        assert await client.authenticate(identity) == ServerConfirmsAuth()
        yield client


async def request(server: RelayServer, head: str, tls: ssl.SSLContext | None = None) -> tuple[int, str, bytes]:
    """Sends a bare HTTP request; returns the status, the header and the body."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)
        writer.write(head.replace("\n", "\r\n").encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    header, _, body = answer.partition(b"\r\n\r\n")
    return int(header.split()[1]), header.decode().lower(), body
