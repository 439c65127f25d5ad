"""Watches the connection under a session: nothing comes back though something is sent, and where the peer was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from irosh.core.paths import Paths
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.lifetime import SessionLifetime

LOOK_EVERY = 1.0
NO_ANSWER = 4.0
"""Seconds in which no packet has come though some went. Idle connections are kept alive every few seconds."""
ASK_AFTER = 3.0
"""Seconds without a word of the peer on what was sent to it, after which it is asked."""
NO_WORD = 5.0
"""Seconds without a word when it was asked, while packets do come: it does not hear us, and will not."""
MAX_REMOTES = 8


class Vitals:
    """Signs of life of one connection. Times in seconds, by the caller's clock."""

    def __init__(self, now: float) -> None:
        self.heard = now
        """When something came last."""
        self._sent = self._received = 0
        self._sent_at: float | None = None  # the first packet since something came
        self._asked_at: float | None = None

    def look(self, now: float, *, sent: int, received: int, word: float, waiting: bool) -> bool:
        """Whether to ask the peer for a word.

        ``sent``, ``received``: counters; ``word``: for how long it has said nothing; ``waiting``: for its word on data.
        """
        if received > self._received:
            self.heard = now
            self._sent_at = None
        elif sent > self._sent and self._sent_at is None:
            self._sent_at = now
        self._sent, self._received = sent, received
        if self._asked_at is not None and word < now - self._asked_at:
            self._asked_at = None
        if self._asked_at is None and waiting and word >= ASK_AFTER:
            self._asked_at = now
            return True
        return False

    @property
    def asked(self) -> bool:
        """Whether the peer owes us a word."""
        return self._asked_at is not None

    def is_silent(self, now: float) -> bool:
        """Whether it is time to look for another connection."""
        return self._sent_at is not None and now - self._sent_at >= NO_ANSWER

    def is_deaf(self, now: float) -> bool:
        """Whether this connection has no future, because our packets do not arrive though the peer's do.

        So it is when the peer's address has changed. The engine would send all dials by the same way, too.
        """
        return self._asked_at is not None and now - self._asked_at >= NO_WORD and not self.is_silent(now)


class LinkWatch:
    """Of one session, over all its connections. Tells the session when its peer was last heard.

    ``early``: another connection costs nobody a thought, so it is sought before the one there is counts as dead.
    """

    def __init__(self, session: SessionLifetime, *, early: bool) -> None:
        self._session = session
        self._early = early and session.uses is Paths.FASTEST
        self._clock = asyncio.get_running_loop().time
        self._carrier: Carrier | None = None
        self._vitals = Vitals(self._clock())
        self._remotes: dict[str, None] = {}

    @property
    def remotes(self) -> tuple[str, ...]:
        """``ip:port`` by which the peer was reached without a relay, the latest first."""
        return tuple(reversed(self._remotes))

    async def trouble(self) -> None:
        """Until the session has no connection, or has ended; or, early, no answer comes any more."""
        session = self._session
        while not (session.is_down or session.is_closed):
            if self._is_silent() and self._early and session.credentials is not None:
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
        session = self._session
        carrier = session.carriers()[0]
        now = self._clock()
        if carrier is not self._carrier:
            self._carrier = carrier
            self._vitals = Vitals(now)
        traffic = carrier.connection.traffic()
        waiting = session.unacknowledged > 0
        sent, received = traffic.packets_sent, traffic.packets_received
        if self._vitals.look(now, sent=sent, received=received, word=carrier.silence, waiting=waiting):
            carrier.ping()
        session.heard_at = now - carrier.silence if self._vitals.asked else self._vitals.heard
        for path in carrier.connection.paths():
            if path.selected and not path.relayed:
                self._remotes.pop(path.remote, None)
                self._remotes[path.remote] = None
        while len(self._remotes) > MAX_REMOTES:
            self._remotes.pop(next(iter(self._remotes)))
        if self._early and session.credentials is not None and self._vitals.is_deaf(now):
            carrier.give_up(f"the peer has not heard us for {carrier.silence:.0f} s")
        return self._vitals.is_silent(now)
