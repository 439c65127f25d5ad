"""Reading a carrier's stream so that a read which is cancelled loses nothing: it goes on, and the next one has it.

An engine may have taken bytes for a read when that is cancelled. They would be missing from the count of what has
arrived, by which a stream goes on after a resume.
"""

from __future__ import annotations

import asyncio

from irosh.transport.interfaces import CarrierStream


class KeptRead:
    """The reads of one stream of a session, one at a time."""

    def __init__(self) -> None:
        self._carrier: CarrierStream | None = None
        self._task: asyncio.Task[bytes] | None = None
        self._awaited = False

    @property
    def is_kept(self) -> bool:
        """Whether a cancelled read goes on, or has brought something."""
        return self._task is not None and not self._awaited

    async def read(self, carrier: CarrierStream, limit: int) -> bytes:
        """As ``carrier.read``, but of a kept read the limit is that of when it began."""
        if self._task is None or self._carrier is not carrier:
            self.drop()
            self._carrier = carrier
            self._task = asyncio.ensure_future(carrier.read(limit))
            self._task.add_done_callback(_retrieved)
        task = self._task
        self._awaited = True
        try:
            data = await asyncio.shield(task)
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._forget(task)
            raise
        finally:
            self._awaited = False
        self._forget(task)
        return data

    def drop(self) -> None:
        """Nobody wants it any more."""
        if self._task is not None and not self._awaited:
            self._task.cancel()
            self._forget(self._task)

    def _forget(self, task: asyncio.Task[bytes]) -> None:
        if self._task is task:
            self._task = self._carrier = None


def _retrieved(task: asyncio.Task[bytes]) -> None:
    if not task.cancelled():
        task.exception()
