"""Reading a carrier's stream so that a read which is cancelled loses nothing: it goes on, and the next one has it.

An engine may have taken bytes for a read when that is cancelled. They would be missing from the count of what has
arrived, by which a stream goes on after a resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from irosh.transport.interfaces import CarrierStream

_FAIR_SHARE = 16  # after so many reads in turn that had not to wait, other tasks run


class KeptRead:
    """The reads of one stream of a session, one at a time."""

    __slots__ = ("_cancel", "_carrier", "_outcome", "_ready", "_waiter")

    def __init__(self) -> None:
        self._carrier: CarrierStream | None = None  # of the read that is under way, or was kept
        self._cancel: Callable[[], object] | None = None
        self._outcome: bytes | Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._ready = 0

    @property
    def is_kept(self) -> bool:
        """Whether a cancelled read goes on, or has brought something."""
        return self._carrier is not None and self._waiter is None

    async def read(self, carrier: CarrierStream, limit: int) -> bytes:
        """As ``carrier.read``, but of a kept read the limit is that of when it began."""
        if self._carrier is not carrier:
            self.drop()
            self._carrier = carrier
            self._cancel = carrier.begin_read(limit, self._told)
        if self._outcome is None:
            self._ready = 0
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        else:
            self._ready += 1
            if self._ready % _FAIR_SHARE == 0:
                await asyncio.sleep(0)
        outcome = self._outcome
        self._forget()
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is not None
        return outcome

    def drop(self) -> None:
        """Nobody wants it any more."""
        if self._waiter is None and self._cancel is not None:
            self._cancel()
            self._forget()

    def _told(self, outcome: bytes | Exception) -> None:
        self._outcome = outcome
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _forget(self) -> None:
        self._carrier = self._cancel = self._outcome = None
