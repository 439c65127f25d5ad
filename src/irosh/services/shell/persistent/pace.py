"""How much of the host's time goes into following what sessions show: a little, however many there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_TURN = 0.003  # seconds of work at a time: how long a keystroke of anybody may have to wait for it
_REST = 4.0  # times as long between two


class Pace:
    """Shared by all sessions of a host: works in turn, for a fifth of the time."""

    def __init__(self) -> None:
        self._one = asyncio.Lock()

    async def turn(self, work: Callable[[float], object]) -> None:
        """Call ``work`` with how many seconds it may take, when it is its turn."""
        async with self._one:
            begun = time.perf_counter()
            work(_TURN)
            await asyncio.sleep(_REST * (time.perf_counter() - begun))
