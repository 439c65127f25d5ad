"""The way back to a peer: dials that overlap, a fresh one as soon as this machine's addresses change."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain, repeat
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.rendezvous.local_addresses import new_address
from irosh.transport.interfaces import Connection

log = logging.getLogger(__name__)

Dial = Callable[[], Awaitable[Connection]]
Greet = Callable[[Connection], Awaitable[None]]

BACKOFF_FIRST, BACKOFF_MOST = 0.5, 30.0
# A dial sends at once, then after 1, 3 and 7 s: one that began before the network came back may be late by seconds, so
# another begins meanwhile. That is about two small packets each second.
EVERY, LATER_EVERY = 3.0, 4.0
MANY = 24
DIAL_DEADLINE = 10.0
MOST_DIALS = 5
GREETING_DEADLINE = 6.0
SAY_AGAIN = 30.0  # seconds until the same failure is worth a word again

# Reasons that no redialling mends. Another identity may answer in the wrong network, and the right one in the next.
FINAL = frozenset(
    {
        ErrorCode.UNKNOWN_PEER,
        ErrorCode.BLOCKED,
        ErrorCode.REVOKED,
        ErrorCode.INVITE_INVALID,
        ErrorCode.INVITE_EXPIRED,
        ErrorCode.INVITE_USED,
        ErrorCode.SESSION_UNKNOWN,
    }
)


class Redial:
    """Dials until ``greet`` has gone on with a connection.

    ``overlapping``: dials that take long do not keep the next one waiting; each has a deadline. Without it there is one
    at a time, which has its own, with growing pauses. ``failed`` hears of failures, of equal ones now and then.
    """

    def __init__(self, dial: Dial, greet: Greet, failed: Callable[[IroshError], None], *, overlapping: bool) -> None:
        self._dial = dial
        self._greet = greet
        self._failed = failed
        self._overlapping = overlapping
        self._told: tuple[str, float] = ("", 0.0)
        self._greeting = False

    def is_greeting(self) -> bool:
        """Whether the peer may be about to go on with a connection of ours."""
        return self._greeting

    async def run(self) -> None:
        """Return once the session goes on. ``IroshError``: a reason that is final."""
        dials: set[asyncio.Future[Connection]] = set()
        moved = asyncio.ensure_future(new_address())
        try:
            pauses = _steady() if self._overlapping else backoff()
            loop = asyncio.get_running_loop()
            due = loop.time()
            while True:
                if (now := loop.time()) >= due and len(dials) < (MOST_DIALS if self._overlapping else 1):
                    log.debug("dialling again, beside %d dials", len(dials))
                    dials.add(asyncio.ensure_future(self._attempt()))
                    due = now + next(pauses)
                waiting: set[asyncio.Future[Any]] = {moved, *dials}
                done, _ = await asyncio.wait(waiting, timeout=max(0.01, due - now), return_when=asyncio.FIRST_COMPLETED)
                if moved in done:
                    moved.result()
                    log.info("this machine has a new address: dialling again")
                    moved = asyncio.ensure_future(new_address())
                    pauses = _steady() if self._overlapping else backoff()
                    due = loop.time()
                for dial in dials & done:
                    dials.discard(dial)
                    if await self._went_on(dial):
                        return
                    if not self._overlapping:
                        due = loop.time() + next(pauses)
        finally:
            moved.cancel()
            for dial in dials:
                dial.cancel()
            for late in await asyncio.gather(moved, *dials, return_exceptions=True):
                if late is not None and not isinstance(late, BaseException):
                    late.close(moved=True)

    async def _attempt(self) -> Connection:
        if not self._overlapping:
            return await self._dial()
        try:
            async with asyncio.timeout(DIAL_DEADLINE):
                return await self._dial()
        except TimeoutError:
            raise IroshError(ErrorCode.UNREACHABLE, "the peer does not answer") from None

    async def _went_on(self, dial: asyncio.Future[Connection]) -> bool:
        """One at a time: the peer goes on with the connection of the last greeting it heard."""
        self._greeting = True
        try:
            async with asyncio.timeout(GREETING_DEADLINE):
                await self._greet(dial.result())
            return True
        except TimeoutError:
            self._tell(IroshError(ErrorCode.UNREACHABLE, "the peer does not answer"))
        except IroshError as error:
            if error.code in FINAL:
                raise
            self._tell(error)
        finally:
            self._greeting = False
        return False

    def _tell(self, error: IroshError) -> None:
        now = asyncio.get_running_loop().time()
        message, since = self._told
        if error.message != message or now - since >= SAY_AGAIN:
            self._told = (error.message, now)
            self._failed(error)


def backoff() -> Iterator[float]:
    """Pauses in seconds that grow up to ``BACKOFF_MOST``, with jitter so that many nodes do not dial in step."""
    pause = BACKOFF_FIRST
    while True:
        yield pause * _jitter()
        pause = min(pause * 2, BACKOFF_MOST)


def _steady() -> Iterator[float]:
    return (pause * _jitter() for pause in chain(repeat(EVERY, MANY), repeat(LATER_EVERY)))


def _jitter() -> float:
    return random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
