"""A link kept for as long as a command is attached, which is told what happens to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from irosh.core.errors import IroshError
from irosh.node.control import Channel
from irosh.node.destination import Destination
from irosh.node.links import ENDS, Links
from irosh.transport.session.lifetime import LinkEvent
from irosh.transport.tasks import first_to_end

MAX_EVENTS = 1024  # waiting for a client that does not read; further ones are dropped


class KeptLink:
    """Collects what is to be told. ``ended`` fails once the peer says something that no redialling mends."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(MAX_EVENTS)

    def report(self, event: str, fields: dict[str, Any]) -> None:
        """Have the command told of ``event``."""
        with contextlib.suppress(asyncio.QueueFull):
            self._events.put_nowait((event, fields))

    def changed(self, event: LinkEvent) -> None:
        """Something happened to the link."""
        if event.error is not None and event.error.code in ENDS:
            self.end(event.error)
        else:
            self.report(event.name, event.fields())

    def end(self, error: IroshError) -> None:
        """Nothing more can be done, for this reason."""
        if not self.ended.done():
            self.ended.set_exception(error)

    async def tell(self, channel: Channel) -> None:
        """Send what is reported until the link has ended for good: raises why."""
        await first_to_end(self.until_ended(), self._send(channel))

    async def until_ended(self) -> None:
        """Raises why the link has ended for good, once it has."""
        await asyncio.shield(self.ended)  # a caller that is cancelled leaves it to others

    async def _send(self, channel: Channel) -> None:
        while True:
            event, fields = await self._events.get()
            await channel.event(event, **fields)


@asynccontextmanager
async def kept_link(links: Links, destination: Destination) -> AsyncIterator[KeptLink]:
    """Keep a link to ``destination`` while the context lasts."""
    link = KeptLink()
    try:
        async with links.keep(destination, link.changed):
            yield link
    finally:
        link.ended.cancel()
