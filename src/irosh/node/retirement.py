"""A connection that takes no further commands ends once nothing uses it any more (``-O stop``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE = 1.0  # seconds: what uses a connection opens streams one after another


class Retirement:
    """Of one connection. ``open_streams`` counts those it has; ``end`` closes it."""

    def __init__(self, open_streams: Callable[[], int], end: Callable[[], None]) -> None:
        self.begun = False
        self.on_begin: dict[Callable[[], None], None] = {}
        """Called when it begins, to let go of what is only kept for further commands."""
        self._open_streams = open_streams
        self._end = end
        self._holders = 0

    def begin(self) -> None:
        """From now on."""
        self.begun = True
        for let_go in list(self.on_begin):
            let_go()
        self.look()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Something that may have no stream open uses the connection while the context lasts."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            self.look()

    def look(self) -> None:
        """Something has ended: was it the last?"""
        if self.begun and self._is_unused():
            asyncio.get_running_loop().call_later(GRACE, self._end_if_unused)

    def _is_unused(self) -> bool:
        return not self._holders and not self._open_streams()

    def _end_if_unused(self) -> None:
        if self._is_unused():
            self._end()
