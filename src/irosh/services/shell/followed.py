"""What the terminal of a session shows, known while it runs without slowing it down."""

from __future__ import annotations

import asyncio

from irosh.services.shell.persistent.model import TerminalModel
from irosh.services.shell.persistent.pace import Pace


class FollowedTerminal:
    """``size``: columns, rows, width and height in pixels. ``pace``: of all that this host follows."""

    def __init__(self, size: tuple[int, int, int, int], pace: Pace) -> None:
        self.size = size
        self.model = TerminalModel(*size[:2])
        self._pace = pace
        self._fresh = asyncio.Event()

    def output(self, data: bytes) -> None:
        """It was sent ``data``."""
        self.model.add(data)
        self._fresh.set()

    def resize(self, size: tuple[int, int, int, int]) -> None:
        """It has another size from here on."""
        self.size = size
        self.model.resize(*size[:2])

    async def follow(self) -> None:
        """Keep the model up to date, in the gaps, until cancelled."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            while self.model.behind:
                await self._pace.turn(self.model.work)
