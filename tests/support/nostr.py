"""Nostr relays for tests: honest ones, and ones that do what the test wants with the events they get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from irosh.core.identity import Identity
from irosh.core.nostr_key import NostrKey
from irosh.rendezvous.nostr_channel import NostrChannel
from irosh.rendezvous.nostr_link import RelayLink
from irosh.rendezvous.nostr_relay import NostrRelay
from tests.support import sockets

Event = dict[str, Any]
DEADLINE = 30.0


def nostr_key(number: int) -> NostrKey:
    """A key of the test's own, by number."""
    return NostrKey.derive(Identity.from_secret(bytes((number,)) * 32).secret)


def local_relay() -> NostrRelay:
    """An honest relay on any free port of loopback."""
    return NostrRelay("127.0.0.1", 0)


def closed_port() -> str:
    """The URL of a relay that is not there."""
    return f"ws://127.0.0.1:{sockets.closed_port()}"


@dataclass
class OddRelay:
    """Passes on what ``treat`` makes of each event. ``greet``: frames for whoever subscribes, after EOSE."""

    treat: Callable[[Event], Sequence[Event]] = lambda event: [event]
    greet: Callable[[str], Sequence[str]] = lambda _subscription: ()
    refuse: str = ""
    """Why it takes no events, if it does not."""
    password_of: str = ""
    """The challenge (NIP-42) that a client must answer before it may subscribe."""
    url: str = ""
    received: list[Event] = field(default_factory=list)
    subscribers: dict[ServerConnection, str] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[OddRelay]:
        async with serve(self._serve, "127.0.0.1", 0, compression=None) as server:
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            yield self

    async def broadcast(self, events: Sequence[Event]) -> None:
        """Events to all subscribers, whoever they are for."""
        for websocket, subscription in list(self.subscribers.items()):
            with suppress(ConnectionClosed):
                for event in events:
                    await websocket.send(json.dumps(["EVENT", subscription, event]))

    async def _serve(self, websocket: ServerConnection) -> None:
        admitted = not self.password_of
        if not admitted:
            await websocket.send(json.dumps(["AUTH", self.password_of]))
        with suppress(ConnectionClosed):
            async for text in websocket:
                kind, *rest = json.loads(text)
                if kind == "AUTH":
                    admitted = ["challenge", self.password_of] in rest[0]["tags"]
                    await websocket.send(json.dumps(["OK", rest[0]["id"], admitted, ""]))
                elif not admitted:
                    await websocket.send(json.dumps(["CLOSED", rest[0], "auth-required: who are you?"]))
                elif kind == "REQ":
                    self.subscribers[websocket] = rest[0]
                    await websocket.send(json.dumps(["EOSE", rest[0]]))
                    for frame in self.greet(rest[0]):
                        await websocket.send(frame)
                elif kind == "EVENT":
                    self.received.append(rest[0])
                    await websocket.send(json.dumps(["OK", rest[0]["id"], not self.refuse, self.refuse]))
                    if not self.refuse:
                        await self.broadcast(self.treat(rest[0]))
        self.subscribers.pop(websocket, None)


@dataclass
class Member:
    """One who sends and receives over relays."""

    key: NostrKey
    links: list[RelayLink] = field(default_factory=list)
    inbox: asyncio.Queue[tuple[bytes, bytes]] = field(default_factory=asyncio.Queue)
    channel: NostrChannel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = NostrChannel(self.key, lambda sender, payload: self.inbox.put_nowait((sender, payload)))

    def send(self, to: Member, payload: bytes) -> None:
        self.channel.send(self.links, to.key.public, payload)

    async def receive(self) -> tuple[bytes, bytes]:
        async with asyncio.timeout(DEADLINE):
            return await self.inbox.get()

    async def reaches(self, other: Member, payload: bytes) -> None:
        """What is sent now is what the other receives next."""
        self.send(other, payload)
        assert await other.receive() == (self.key.public, payload)


@asynccontextmanager
async def member(number: int, *urls: str, up: bool = True) -> AsyncIterator[Member]:
    """A member at the relays ``urls``; once all of them are up, unless they need not be."""
    each = Member(nostr_key(number))
    try:
        async with each.channel.using(urls) as links:
            each.links = links
            async with asyncio.timeout(DEADLINE):
                if up:
                    await asyncio.gather(*(link.wait_up() for link in links))
            yield each
    finally:
        await each.channel.close()


@asynccontextmanager
async def members(count: int, *urls: str) -> AsyncIterator[tuple[Member, ...]]:
    """So many members, all of them at the relays ``urls``, which are up."""
    async with AsyncExitStack() as stack:
        yield tuple([await stack.enter_async_context(member(number + 1, *urls)) for number in range(count)])
