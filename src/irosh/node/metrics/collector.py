"""Measures all sessions of a node: samples each every few seconds, and keeps totals for each peer and service."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from irosh.core.metrics_history import MetricsHistory
from irosh.node.metrics.meter import Meter, Totals
from irosh.node.metrics.recorder import Recorder
from irosh.node.metrics.streams import ServiceTotals

if TYPE_CHECKING:
    from irosh.node.peer_connection import PeerConnection

log = logging.getLogger(__name__)

INTERVAL = 2.0
IDLE = 20  # times as long at rest as at work, when there are very many sessions
BATCH = 64  # sessions sampled before others may run
MAX_PEERS = 1000
"""With totals of their own; more share one, so that what is shown stays bounded."""
OTHERS = ""
"""Stands for the peers that share their totals."""


@dataclass(slots=True)
class _Peer:
    """``ended``: totals of the sessions that are over; ``seen``: when the last one ended (monotonic)."""

    ended: Totals = field(default_factory=Totals)
    sessions: dict[PeerConnection, None] = field(default_factory=dict)
    seen: float = 0.0


@dataclass(frozen=True, slots=True)
class PeerReading:
    """All sessions with one peer together. ``meters``: of those that live, the newest last. ``kept``: for replay."""

    peer_id: str
    totals: Totals
    meters: Sequence[Meter]
    kept: int


class Collector:
    """:meth:`run` samples until cancelled; :meth:`close` writes what is left of the history."""

    def __init__(self, history: MetricsHistory) -> None:
        self.recorder = Recorder(history)
        self._peers: dict[str, _Peer] = {}
        self._ended_services: dict[str, ServiceTotals] = {}
        self._sessions: dict[PeerConnection, str] = {}  # with the key of the peer's totals
        self._busy = asyncio.Event()

    @contextmanager
    def measuring(self, connection: PeerConnection) -> Iterator[None]:
        """Measure a session for as long as the context lasts."""
        key = self._key(connection.peer_id)
        self._peers[key].sessions[connection] = None
        self._sessions[connection] = key
        self._busy.set()
        self._sample(connection)  # one that is over soon has no other with a path
        try:
            yield
        finally:
            self._sample(connection)
            self._end(connection, key)

    async def run(self) -> None:
        """Sample until cancelled. At rest while there is nothing to measure or to write."""
        while True:
            if not self._sessions and not self.recorder.has_pending:
                self._busy.clear()
            await self._busy.wait()
            began = time.monotonic()
            await self._sample_all()
            self.recorder.write()
            took = time.monotonic() - began
            await asyncio.sleep(max(INTERVAL - took, min(INTERVAL * 5, took * IDLE)))

    def close(self) -> None:
        """Write what is not yet written. Never raises."""
        self.recorder.write(present=True)

    def refresh(self, connection: PeerConnection) -> None:
        """Have the meter of a session show the present, unless it does."""
        if connection.meter.due(time.monotonic()):
            self._sample(connection)

    def peers(self) -> list[PeerReading]:
        """Those that have, or had, a session since the node started."""
        readings = []
        for peer_id, peer in self._peers.items():
            totals, kept = peer.ended, 0
            for connection in peer.sessions:
                totals += connection.meter.totals
                kept += connection.streams.kept
            meters = [connection.meter for connection in peer.sessions if not connection.session.is_closed]
            readings.append(PeerReading(peer_id, totals, meters, kept))
        return readings

    def services(self) -> dict[str, tuple[int, ServiceTotals]]:
        """By name: how many streams are open now, and the totals since the node started."""
        totals = dict(self._ended_services)
        opened = dict.fromkeys(totals, 0)
        for connection in self._sessions:
            for service, found in connection.streams.totals().items():
                totals[service] = totals.get(service, ServiceTotals()) + found
            for use in connection.streams.uses():
                opened[use.service] = opened.get(use.service, 0) + 1
        return {service: (opened.get(service, 0), found) for service, found in totals.items()}

    async def _sample_all(self) -> None:
        for number, connection in enumerate(list(self._sessions), 1):
            if connection in self._sessions and connection.meter.due(time.monotonic()):
                self._sample(connection)
            if number % BATCH == 0:
                await asyncio.sleep(0)

    def _sample(self, connection: PeerConnection) -> None:
        try:
            self.recorder.note(connection.peer_id, connection.measure())
        except Exception:
            # What only looks on must not end what it looks at.
            log.exception("%s: cannot be measured", connection.peer_id[:10])

    def _key(self, peer_id: str) -> str:
        if peer_id not in self._peers:
            absent = [each for each, peer in self._peers.items() if each and not peer.sessions]
            if len(self._peers) >= MAX_PEERS and absent:
                longest = min(absent, key=lambda each: self._peers[each].seen)
                self._peers.setdefault(OTHERS, _Peer()).ended += self._peers.pop(longest).ended
            elif len(self._peers) >= MAX_PEERS:
                peer_id = OTHERS
            self._peers.setdefault(peer_id, _Peer())
        return peer_id

    def _end(self, connection: PeerConnection, key: str) -> None:
        del self._sessions[connection]
        peer = self._peers[key]
        del peer.sessions[connection]
        peer.ended += connection.meter.totals
        peer.seen = time.monotonic()
        for service, found in connection.streams.totals().items():
            self._ended_services[service] = self._ended_services.get(service, ServiceTotals()) + found
