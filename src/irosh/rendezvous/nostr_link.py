"""The connection to one Nostr relay: made again with backoff, subscribed, answered, never trusted."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from irosh.core import nostr_frames
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.nostr_frames import Challenge, EventMessage, Notice, Subscribed, Unsubscribed, Verdict
from irosh.core.wording import escape
from irosh.rendezvous.local_addresses import new_address
from irosh.transport.relay.limits import TokenBucket
from irosh.transport.tasks import first_to_end

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

    from irosh.rendezvous.nostr_cipher import NostrCipher, SealedEvent

log = logging.getLogger(__name__)

OPEN_DEADLINE = 10.0
SUBSCRIBE_DEADLINE = 10.0
CLOSE_DEADLINE = 1.0
PING_INTERVAL = 15.0
BACKOFF_FIRST, BACKOFF_MOST = 0.5, 60.0
WANTED_AFTER = 2.0
"""Seconds after which a relay is tried again when there is something to send."""
LOOK_EVERY = 2.0
STEADY = 30.0
"""Seconds after which a connection counts as good, and the backoff begins anew."""
EVENT_LIFETIME = 10.0
"""Seconds that an event of ours waits for the relay; whoever sent it tries again anyway."""
MAX_WAITING = 64
MAX_CHALLENGES = 4
# Messages a second that are read; a relay that sends more is read more slowly.
FRAME_RATE, FRAME_BURST = 2000.0, 4000.0
# Events a second whose signatures are verified: the costly part.
EVENT_RATE, EVENT_BURST = 40.0, 200.0
_TEXT = 160


class RelayLink:
    """Keeps a connection to the relay at ``url`` while :meth:`run` runs. ``deliver`` gets the events it brings."""

    def __init__(
        self, url: str, recipient: str, cipher: NostrCipher, deliver: Callable[[RelayLink, EventMessage], None]
    ) -> None:
        self.url = url
        self.of_strangers = TokenBucket(EVENT_RATE, EVENT_BURST, time.monotonic)
        """How many events may be verified of those that this relay brings."""
        self.of_friends = TokenBucket(EVENT_RATE, EVENT_BURST, time.monotonic)
        """The same, of those that say they are of keys we expect to hear of."""
        self._recipient = recipient
        self._cipher = cipher
        self._deliver = deliver
        self._waiting: deque[tuple[float, SealedEvent]] = deque(maxlen=MAX_WAITING)
        self._more = asyncio.Event()
        self._sent = asyncio.Event()
        self._sent.set()
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._problem = "it has not answered yet"
        self._refusal = ""
        self._challenges = 0
        self._authentication = ""

    @property
    def is_up(self) -> bool:
        """Whether the relay has taken our subscription and is connected."""
        return self._up.is_set()

    async def wait_up(self) -> None:
        """Return once the relay is up."""
        await self._up.wait()

    async def wait_tried(self) -> None:
        """Return once it is known whether the relay serves us."""
        await self._tried.wait()

    def problem(self) -> IroshError | None:
        """What is wrong with the relay, if anything."""
        if not self.is_up:
            return IroshError(
                ErrorCode.RELAY_UNREACHABLE,
                f"the Nostr relay {self.url} cannot be used: {self._problem}",
                "does it run, and is the URL right?",
            )
        if self._refusal:
            return IroshError(
                ErrorCode.RELAY_DENIED,
                f"the Nostr relay {self.url} does not take our messages: {self._refusal}",
                "choose another with --nostr-relay, or run one: irosh nostr relay",
            )
        return None

    def publish(self, event: SealedEvent) -> None:
        """Send ``event`` as soon as the relay is there. The oldest of too many is dropped, and what has waited long."""
        self._waiting.append((time.monotonic() + EVENT_LIFETIME, event))
        self._sent.clear()
        self._more.set()

    async def drain(self) -> None:
        """Return once all that was published is on its way."""
        await self._sent.wait()

    async def run(self) -> None:
        """Until cancelled."""
        delay = BACKOFF_FIRST
        while True:
            began = time.monotonic()
            self._problem = await self._connected_once()
            self._tried.set()
            log.info("Nostr relay %s: %s", self.url, self._problem)
            if time.monotonic() - began > STEADY:
                delay = BACKOFF_FIRST
            pause = delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
            if await first_to_end(_slept(pause), self._wanted_again(), _moved()):
                delay = BACKOFF_FIRST
            else:
                delay = min(2 * delay, BACKOFF_MOST)

    async def _wanted_again(self) -> bool:
        await asyncio.sleep(WANTED_AFTER)
        self._drop_expired()
        if not self._waiting:
            self._more.clear()
            await self._more.wait()
        return False

    def _drop_expired(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self._waiting.popleft()

    async def _connected_once(self) -> str:
        """One connection, to its end; why it ended."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, WebSocketException

        try:
            async with connect(
                self.url,
                open_timeout=OPEN_DEADLINE,
                close_timeout=CLOSE_DEADLINE,
                ping_interval=PING_INTERVAL,
                ping_timeout=PING_INTERVAL,
                max_size=nostr_frames.MAX_FRAME,
                compression=None,  # what is encrypted does not get smaller
            ) as websocket:
                if await first_to_end(
                    self._read(websocket), self._write(websocket), self._subscribed_in_time(), _moved()
                ):
                    return "this machine has a new address"
        except ConnectionClosed as error:
            received = error.rcvd
            reason = f" ({escape(received.reason, _TEXT)})" if received is not None and received.reason else ""
            return f"the connection ended{reason}"
        except TimeoutError:
            return "it does not answer"
        except _Unusable as error:
            return str(error)
        except ImportError as error:  # a SOCKS proxy is set, and what websockets needs for one is not installed
            return escape(str(error), _TEXT)
        except OSError as error:
            return escape(error.strerror or str(error), _TEXT).lower()
        except (WebSocketException, ValueError) as error:
            return escape(f"it is no Nostr relay: {error}", _TEXT)
        finally:
            self._up.clear()
            self._challenges, self._authentication = 0, ""
        return "the connection ended"

    async def _subscribed_in_time(self) -> None:
        async with asyncio.timeout(SUBSCRIBE_DEADLINE):
            await self._up.wait()
        await asyncio.get_running_loop().create_future()  # the others decide when it ends

    async def _read(self, websocket: ClientConnection) -> None:
        await websocket.send(nostr_frames.subscribe(self._recipient))
        frames = TokenBucket(FRAME_RATE, FRAME_BURST, time.monotonic)
        async for text in websocket:
            if (pause := frames.take(1)) > 0:
                await asyncio.sleep(pause)
            message = nostr_frames.parse(text)
            if isinstance(message, EventMessage):
                try:
                    self._deliver(self, message)
                except Exception:  # whatever somebody found to send must not cost us the relay
                    log.exception("an event from %s could not be handled", self.url)
            elif message is not None:
                await self._handle(websocket, message)

    async def _handle(
        self, websocket: ClientConnection, message: Verdict | Subscribed | Unsubscribed | Challenge | Notice
    ) -> None:
        match message:
            case Subscribed():
                self._up.set()
                self._tried.set()
            case Unsubscribed(reason):
                # One that wants us to authenticate first subscribes us when we have.
                if not (self._authentication and reason.startswith("auth-required")):
                    raise _Unusable(f"it refuses us: {escape(reason, _TEXT) or 'no reason given'}")
            case Challenge(text):
                self._challenges += 1
                if self._challenges > MAX_CHALLENGES:
                    raise _Unusable("it does not stop asking who we are")
                answer = self._cipher.authentication(self.url, text)
                self._authentication = answer.id
                await websocket.send(nostr_frames.authenticate(answer.text))
            case Verdict(event_id, accepted, reason) if event_id == self._authentication:
                if not accepted:
                    raise _Unusable(f"it does not let us in: {escape(reason, _TEXT)}")
                await websocket.send(nostr_frames.subscribe(self._recipient))
            case Verdict(_, accepted, reason):
                self._refusal = "" if accepted else escape(reason, _TEXT) or "no reason given"
            case Notice(text):
                log.info("Nostr relay %s says: %s", self.url, escape(text, _TEXT))

    async def _write(self, websocket: ClientConnection) -> None:
        await self._up.wait()
        while True:
            while self._waiting:
                expires, event = self._waiting.popleft()
                if time.monotonic() < expires:
                    await websocket.send(nostr_frames.publish(event.text))
            self._sent.set()
            self._more.clear()
            await self._more.wait()


async def _slept(seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return False


async def _moved() -> bool:
    """What was connected from another address may be dead without a sign."""
    await new_address(LOOK_EVERY)
    return True


class _Unusable(Exception):
    """The relay has said that it will not serve us."""
