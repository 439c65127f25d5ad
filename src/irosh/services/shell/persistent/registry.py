"""All sessions of a host: whose they are, how many there may be, and when they are over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.shell.persistent.codec import End
from irosh.services.shell.persistent.pace import Pace
from irosh.services.shell.persistent.session import PersistentSession
from irosh.transport.tasks import TaskSet

log = logging.getLogger(__name__)

MAX_SESSIONS = 256
MAX_OF_ONE = 16  # of one peer
MAX_OUTCOMES = 256  # of sessions that ended while nobody was there to hear it
CHECK = 2.0  # seconds between two looks whether the owners may still have their sessions

Key = tuple[str | None, str]
"""The owner's endpoint id, None for this machine, and the name."""


class SessionRegistry:
    """Owns the tasks of its sessions until :meth:`aclose`. ``over``: why one has to end now, None if it has not."""

    def __init__(self, pace: Pace, over: Callable[[PersistentSession], str | None]) -> None:
        self.pace = pace
        self.began_at = time.time()
        self._over = over
        self._live: dict[Key, PersistentSession] = {}
        self._outcomes: OrderedDict[Key, End] = OrderedDict()
        self._tasks = TaskSet()
        self._checking: asyncio.Task[None] | None = None
        self._starting: set[Key] = set()

    def find(self, owner: str | None, name: str) -> PersistentSession | None:
        """The running session of that name."""
        return self._live.get((owner, name))

    def sessions(self) -> list[PersistentSession]:
        """All that run, the oldest first."""
        return list(self._live.values())

    def shared(self) -> list[PersistentSession]:
        """Those that guests may join, the oldest first."""
        return [session for session in self._live.values() if session.share is not None]

    def take_outcome(self, owner: str | None, name: str) -> End | None:
        """How a session ended that ended unseen; told once."""
        return self._outcomes.pop((owner, name), None)

    def outcomes(self, owner: str | None) -> list[End]:
        """The untold ones of an owner."""
        return [end for (of, _), end in self._outcomes.items() if of == owner]

    @contextmanager
    def place(self, owner: str | None, name: str) -> Iterator[None]:
        """Keep a place until it is taken, or the context ends. ``IroshError`` (busy, name-taken) if there is none."""
        key = (owner, name)
        if key in self._live or key in self._starting:
            raise IroshError(ErrorCode.NAME_TAKEN, f"there is a session {name} already")
        mine = sum(of == owner for of, _ in (*self._live, *self._starting))
        if len(self._live) + len(self._starting) >= MAX_SESSIONS or mine >= MAX_OF_ONE:
            raise IroshError(
                ErrorCode.BUSY,
                f"there are {mine} sessions already, and no place for another",
                "end one: irosh session kill",
            )
        self._starting.add(key)
        try:
            yield
        finally:
            self._starting.discard(key)

    def keep(self, session: PersistentSession, on_end: Callable[[], object]) -> None:
        """Have it run from now on; ``on_end`` is called when it has ended."""
        key = (session.terms.owner, session.terms.name)
        self._live[key] = session
        self._outcomes.pop(key, None)
        self._tasks.start(self._run(key, session, on_end))
        if self._checking is None or self._checking.done():
            self._checking = self._tasks.start(self._check())

    async def aclose(self) -> None:
        """End all."""
        await self._tasks.close()

    def check(self, owner: str | None) -> None:
        """End the sessions that ``owner`` has no right to any more, and those left that do not stay."""
        for session in self.sessions():
            if session.terms.owner == owner and (reason := self._over(session)) is not None:
                log.info("session %s is ended: %s", session.terms.name, reason)
                session.end(reason)

    async def _run(self, key: Key, session: PersistentSession, on_end: Callable[[], object]) -> None:
        try:
            outcome = await session.run()
            told = any(each.owner for each in session.participants)
            if not told and outcome.reason not in ("killed", "share-over"):
                outcome.ended_at = time.time()
                self._outcomes[key] = outcome
                while len(self._outcomes) > MAX_OUTCOMES:
                    self._outcomes.popitem(last=False)
        finally:
            if self._live.get(key) is session:
                del self._live[key]
            on_end()

    async def _check(self) -> None:
        while self._live:
            await asyncio.sleep(CHECK)
            for owner in {session.terms.owner for session in self.sessions()}:
                self.check(owner)
