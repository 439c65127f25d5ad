"""What keeps a stream of a session from writing, and how it is closed: the same for both kinds of streams."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import suppress

from irosh.transport.interfaces import ConnectionLost, StreamReset
from irosh.transport.session.pacing import Pacing
from irosh.transport.session.replay import ReplayBudget, ReplayLog


class EndingStream(ABC):
    """A stream that keeps in ``log`` what it sends."""

    def __init__(self, budget: ReplayBudget) -> None:
        self.log = ReplayLog(budget)
        self._torn = False  # a write was cancelled half-way: what the peer gets of it is not known
        self._write_error: Exception | None = None

    @abstractmethod
    async def finish(self) -> None: ...

    @abstractmethod
    async def stop(self, code: int = 0) -> None: ...

    @abstractmethod
    async def abort(self, code: int = 0) -> None: ...

    async def close(self) -> None:
        """Nothing more is read or written here; what was written still arrives. Never raises."""
        with suppress(StreamReset, ConnectionLost):
            if not self.log.finished:
                await self.finish()
        await self.stop()

    def pace(self) -> None:
        """See :class:`irosh.transport.interfaces.Stream`."""
        self.log.pacing = self.log.pacing or Pacing(time.monotonic)

    async def _check_writing(self) -> None:
        """Raises what keeps this side from writing."""
        if self._write_error is None and self._torn:
            await self.abort()  # rather a reset than a stream that seems whole
        if self._write_error is not None:
            raise self._write_error
        if self.log.finished:
            raise StreamReset(0)  # as an engine's stream says it
