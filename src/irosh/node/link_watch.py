"""Watches the connection under a session: nothing comes back though something is sent, and where the peer was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from irosh.transport.session.session import Session

LOOK_EVERY = 1.0
SUSPECT_AFTER = 4.0
"""Seconds without an answer. Idle connections ask and are answered every few seconds, by the engine's own doing."""
MAX_REMOTES = 8


class Vitals:
    """Signs of life of one connection, from its counters. Times in seconds, by the caller's clock."""

    def __init__(self, now: float) -> None:
        self.heard = now
        """When something came last."""
        self._asked: float | None = None
        self._counters = (0, 0)

    def look(self, now: float, sent: int, received: int) -> None:
        """The counters as they are now. They are lower when a path has been given up."""
        earlier_sent, earlier_received = self._counters
        self._counters = (sent, received)
        if received > earlier_received:
            self.heard = now
            self._asked = None
        elif sent > earlier_sent and self._asked is None:
            self._asked = now

    def unanswered(self, now: float) -> float:
        """For how long something sent has had no answer of any kind."""
        return 0.0 if self._asked is None else now - self._asked


class LinkWatch:
    """Of one session, over all its connections. Tells the session when its peer was last heard."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._vitals = Vitals(time.monotonic())
        self._reconnects = session.reconnects
        self._remotes: dict[str, None] = {}

    @property
    def remotes(self) -> tuple[str, ...]:
        """``ip:port`` by which the peer was reached without a relay, the latest first."""
        return tuple(reversed(self._remotes))

    async def trouble(self, *, early: bool) -> None:
        """Until the session has no connection, or has ended; with ``early`` also when no answer comes any more."""
        session = self._session
        while not (session.is_down or session.is_closed):
            if self._is_silent() and early and session.credentials is not None:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await session.wait_down()

    async def well(self, busy: Callable[[], bool]) -> None:
        """Until the connection there was answers again, but not while ``busy()``; or the session has ended."""
        session = self._session
        while not session.is_closed:
            if not session.is_down and not self._is_silent() and not busy():
                return
            await asyncio.sleep(LOOK_EVERY)

    def _is_silent(self) -> bool:
        paths = self._session.paths()
        now = time.monotonic()
        if self._reconnects != self._session.reconnects:
            self._reconnects = self._session.reconnects
            self._vitals = Vitals(now)
        self._vitals.look(now, sum(path.bytes_sent for path in paths), sum(path.bytes_received for path in paths))
        self._session.heard_at = self._vitals.heard
        for path in paths:
            if path.selected and not path.relayed:
                self._remotes.pop(path.remote, None)
                self._remotes[path.remote] = None
        while len(self._remotes) > MAX_REMOTES:
            self._remotes.pop(next(iter(self._remotes)))
        return self._vitals.unanswered(now) >= SUSPECT_AFTER
