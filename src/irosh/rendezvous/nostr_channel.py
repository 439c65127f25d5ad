"""Signalling over several Nostr relays at once: what is sent goes to all, what comes is verified and taken once.

Relays are not trusted. One that drops or delays is made up for by the others; what one forges, repeats or floods us
with is sorted out by checks from cheap to costly, each within a budget that is that relay's or that sender's own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

from irosh.core import nostr_frames
from irosh.core.errors import IroshError
from irosh.core.nostr_frames import EventMessage
from irosh.core.nostr_key import NostrKey
from irosh.rendezvous.nostr_cipher import NostrCipher
from irosh.rendezvous.nostr_link import RelayLink
from irosh.transport.relay.limits import TokenBucket
from irosh.transport.tasks import TaskSet

log = logging.getLogger(__name__)

MAX_SEEN = 4096
MAX_SENDERS = 1024
MAX_FRIENDS = 1024
SENDER_RATE, SENDER_BURST = 1.0, 20.0  # messages a second of one Nostr key
DRAIN_DEADLINE = 1.0

Receiver = Callable[[bytes, bytes], None]
"""Gets a sender's Nostr key and what it sent."""


class NostrChannel:
    """Sends and receives with one Nostr key, over the relays that :meth:`using` names."""

    def __init__(self, key: NostrKey, receive: Receiver) -> None:
        self._cipher = NostrCipher(key)
        self._recipient = key.public.hex()
        self._receive = receive
        self._tasks = TaskSet()
        self._links: dict[str, RelayLink] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._users: dict[str, int] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._senders: OrderedDict[str, TokenBucket] = OrderedDict()
        self._friends: OrderedDict[str, None] = OrderedDict()

    @asynccontextmanager
    async def using(self, urls: Iterable[str]) -> AsyncIterator[list[RelayLink]]:
        """Stay connected to the relays ``urls`` meanwhile; those that several use are connected to once."""
        chosen = list(dict.fromkeys(urls))
        links = [self._join(url) for url in chosen]
        try:
            yield links
        finally:
            # What was said last, such as a goodbye, still gets out if the relays are there.
            leaving = [link.drain() for link in links if link.is_up and self._users[link.url] == 1]
            try:
                async with asyncio.timeout(DRAIN_DEADLINE):
                    await asyncio.gather(*leaving)
            except TimeoutError:
                log.debug("not all was sent before leaving")
            finally:
                for url in chosen:
                    self._leave(url)

    def send(self, links: Iterable[RelayLink], recipient: bytes, payload: bytes) -> None:
        """Send ``payload`` to the Nostr key ``recipient``. It may be lost: relays do not store it."""
        event = self._cipher.seal(recipient, payload)
        for link in links:
            link.publish(event)

    def befriend(self, key: bytes) -> None:
        """Messages of this Nostr key get through when strangers flood us."""
        self._friends[key.hex()] = None
        self._friends.move_to_end(key.hex())
        if len(self._friends) > MAX_FRIENDS:
            self._friends.popitem(last=False)

    async def close(self) -> None:
        """Disconnect from all relays."""
        await self._tasks.close()

    def _join(self, url: str) -> RelayLink:
        if url not in self._links:
            self._links[url] = link = RelayLink(url, self._recipient, self._cipher, self._take)
            self._running[url] = self._tasks.start(link.run())
        self._users[url] = self._users.get(url, 0) + 1
        return self._links[url]

    def _leave(self, url: str) -> None:
        self._users[url] -= 1
        if not self._users[url]:
            del self._users[url], self._links[url]
            self._running.pop(url).cancel()

    def _take(self, link: RelayLink, message: EventMessage) -> None:
        """Pass on what is new, for us, and from whom it says it is."""
        event = message.event
        if not nostr_frames.is_signalling_for(event, self._recipient) or event.id in self._seen:
            return
        # Before the costly part each relay has a budget of its own, so that one that forges hurts itself alone.
        budget = link.of_friends if event.pubkey in self._friends else link.of_strangers
        if not budget.try_take(1):
            return
        payload = self._cipher.open(message)
        if payload is None:
            log.info("Nostr relay %s brought a forged or unreadable event", link.url)
            return
        # Only now: a forged event must not keep the true one of the same id out.
        self._seen[event.id] = None
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        if self._sender(event.pubkey).try_take(1):
            self._receive(bytes.fromhex(event.pubkey), payload)

    def _sender(self, key: str) -> TokenBucket:
        bucket = self._senders.pop(key, None) or TokenBucket(SENDER_RATE, SENDER_BURST, time.monotonic)
        self._senders[key] = bucket
        if len(self._senders) > MAX_SENDERS:
            self._senders.popitem(last=False)
        return bucket


def problems(links: Iterable[RelayLink]) -> list[IroshError]:
    """What is wrong with relays, one error for each."""
    found = (link.problem() for link in links)
    return [problem for problem in found if problem is not None]


async def wait_tried(links: Iterable[RelayLink], deadline: float) -> None:
    """Return once it is known of all relays whether they serve us, or after ``deadline`` seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(deadline):
            await asyncio.gather(*(link.wait_tried() for link in links))
