"""What the connections of one relay share, and what they do to one another."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Final

from websockets.frames import CloseCode

from irosh.core.identity import short_id
from irosh.transport.relay.codec import encode_relay_frame
from irosh.transport.relay.config import RelayConfig
from irosh.transport.relay.frames import EndpointGone, Restarting, StatusCode
from irosh.transport.relay.limits import TokenBucket
from irosh.transport.relay.metrics import RelayCounters
from irosh.transport.relay.outbox import Budget
from irosh.transport.relay.registry import Entry, Registry

if TYPE_CHECKING:
    from irosh.transport.relay.connection import RelayConnection

logger = logging.getLogger("irosh.transport.relay")

_RECONNECT_SPREAD_MS: Final = 1000
_RECONNECT_TRY_MS: Final = 5000


def short(endpoint_id: bytes) -> str:
    """The id as logs show it."""
    return short_id(endpoint_id.hex())


class Hub:
    """The shared state of a relay's connections."""

    def __init__(self, config: RelayConfig) -> None:
        self.loop = asyncio.get_running_loop()
        self.config = config
        self.budget = Budget(config.queue_bytes_total)
        self.registry: Registry[RelayConnection] = Registry()
        self.deserted = asyncio.Event()
        """Set while no connection is open."""
        self.deserted.set()
        self.counters = RelayCounters()
        self._open: set[RelayConnection] = set()
        self._pending: dict[RelayConnection, None] = {}  # oldest first
        self._closing = False
        # A flood of denials must not flood the log.
        self._denials = TokenBucket(rate=1, burst=10, clock=self.loop.time)

    def snapshot(self) -> RelayCounters:
        """The counters, those of the present state brought up to date."""
        self.counters.clients = len(self.registry)
        self.counters.endpoints = self.registry.endpoints
        self.counters.pending = len(self._pending)
        self.counters.queued_bytes = self.budget.used
        return self.counters

    @property
    def full(self) -> bool:
        """Whether no further client can be served."""
        return len(self.registry) >= self.config.max_clients

    def opened(self, connection: RelayConnection) -> bool:
        """Notes a new connection; False if it must be dropped at once."""
        self.counters.connections_total += 1
        if self._closing:
            return False
        if len(self._pending) >= self.config.max_pending:
            oldest = next(iter(self._pending))
            del self._pending[oldest]
            self.counters.connections_displaced_total += 1
            oldest.abort("displaced by newer connections before it authenticated")
        self._pending[connection] = None
        self._open.add(connection)
        self.deserted.clear()
        return True

    def closed(self, connection: RelayConnection) -> None:
        """Notes that a connection is gone for good."""
        self._pending.pop(connection, None)
        self._open.discard(connection)
        if not self._open:
            self.deserted.set()

    def denied(self, who: str, reason: str) -> None:
        """Logs a denial."""
        level = logging.INFO if self._denials.try_take(1) else logging.DEBUG
        logger.log(level, "client %s denied: %s", who, reason)

    def join(self, endpoint_id: bytes, connection: RelayConnection) -> Entry[RelayConnection]:
        """Lets an authenticated connection serve its endpoint id."""
        self._pending.pop(connection, None)
        self.counters.handshakes_total += 1
        joined = self.registry.join(endpoint_id, connection)
        if joined.superseded is not None:
            self.counters.superseded_total += 1
            logger.info("client %s connected a second time: the newer connection serves", short(endpoint_id))
            # It gets no more datagrams, but stays alive: closed, it would come back as the newest at once.
            joined.superseded.drop_queued()
            joined.superseded.tell_status(StatusCode.SAME_ENDPOINT_ID_CONNECTED)
        return joined.entry

    def leave(self, endpoint_id: bytes, connection: RelayConnection) -> None:
        """Ends a connection's serving, and tells those whom it concerns."""
        left = self.registry.leave(endpoint_id, connection)
        if left.promoted is not None:
            logger.info("client %s: its older connection serves again", short(endpoint_id))
            left.promoted.tell_status(StatusCode.HEALTHY)
        if left.bereaved:
            gone = encode_relay_frame(EndpointGone(endpoint_id))
            for other in left.bereaved:
                self.counters.endpoints_gone_total += 1
                other.send(gone)

    def shut_down(self) -> None:
        """Tells all clients that the relay restarts, and closes them; each has its deadline."""
        self._closing = True
        for connection in list(self._open):
            if connection in self._pending:
                connection.abort("the relay is shutting down")
            else:
                # Spread out, so that the clients do not all come back in the same instant.
                delay = random.randrange(_RECONNECT_SPREAD_MS)  # noqa: S311
                connection.send(encode_relay_frame(Restarting(delay, _RECONNECT_TRY_MS)))
                connection.close(CloseCode.SERVICE_RESTART, "the relay is shutting down")

    def abort_all(self) -> None:
        """Drops every connection without a word."""
        self._closing = True
        for connection in list(self._open):
            connection.abort("the relay is shutting down")
