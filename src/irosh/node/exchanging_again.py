"""The manual way back: when an exchange of offer and answer leads to nothing, another one is begun beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from irosh.core.errors import IroshError
from irosh.rendezvous.interfaces import BlockKind, Exchange, Meeting
from irosh.rendezvous.local_addresses import new_address
from irosh.transport.tasks import first_to_end

AGAIN_AFTER = 35.0
"""Seconds after our answer. A host that has it looks for a path for 30, and may have done so without a network."""
MOST = 3

Dial = Callable[[Exchange | None], Awaitable[Meeting]]


async def exchange_again(dial: Dial, exchange: Exchange | None) -> Meeting:
    """What the first successful ``dial`` brings; another is begun a while after the answer of the one before.

    ``IroshError``: all have failed, for the reason of the last one that did.
    """
    if exchange is None:
        return await dial(None)
    dials: list[asyncio.Future[Meeting]] = []
    due: asyncio.Future[Any] | None = None
    try:
        while True:
            turn = _Turn(exchange)
            dials.append(asyncio.ensure_future(dial(turn)))
            if len(dials) > MOST:
                dials[0].cancel()
            due = asyncio.ensure_future(turn.over())
            while not due.done():
                waiting: set[asyncio.Future[Any]] = {due, *dials}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for done in [each for each in dials if each.done()]:
                    dials.remove(done)
                    with suppress(asyncio.CancelledError):
                        try:
                            return done.result()
                        except IroshError:
                            if not dials:
                                raise
            due.result()
    finally:
        for each in dials:
            each.cancel()
        if due is not None:
            due.cancel()
        for late in await asyncio.gather(*dials, return_exceptions=True):
            if isinstance(late, Meeting):
                late.connection.close(moved=True)


class _Turn:
    """One exchange; it knows when its answer was shown."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._shown = asyncio.Event()

    async def show(self, kind: BlockKind, block: str) -> None:
        await self._exchange.show(kind, block)
        self._shown.set()

    async def ask(self, kind: BlockKind) -> str:
        return await self._exchange.ask(kind)

    async def note(self, error: IroshError) -> None:
        await self._exchange.note(error)

    async def over(self) -> None:
        """Until another exchange is worth a try: this one has had its time, or the network is another one."""
        await self._shown.wait()
        await first_to_end(asyncio.sleep(AGAIN_AFTER), new_address())
