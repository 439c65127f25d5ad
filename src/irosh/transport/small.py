"""``asyncio.Event`` and ``asyncio.Queue`` in a tenth of the memory, as far as needed: each stream has several."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class SmallEvent:
    """As ``asyncio.Event``. Next to nothing while nobody waits."""

    __slots__ = ("_is_set", "_waiting")

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        """All who wait go on, even if it is cleared before they run."""
        self._is_set = True
        waiting, self._waiting = self._waiting, None
        for each in waiting or ():
            if not each.done():
                each.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        if self._is_set:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if self._waiting is not None and waiter in self._waiting:
                self._waiting.remove(waiter)


class SmallQueue(Generic[T]):
    """As ``asyncio.Queue`` without a limit, for few items."""

    __slots__ = ("_items", "_some")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._some = SmallEvent()

    def qsize(self) -> int:
        return len(self._items)

    def put_nowait(self, item: T) -> None:
        self._items.append(item)
        self._some.set()

    async def get(self) -> T:
        while not self._items:
            self._some.clear()
            await self._some.wait()
        return self._items.pop(0)
