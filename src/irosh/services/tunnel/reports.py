"""What happens to tunnels and their link, told to the command that holds them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from irosh.core.errors import IroshError
from irosh.node.control import Channel
from irosh.node.links import ENDS
from irosh.transport.session.lifetime import LinkEvent
from irosh.transport.tasks import first_to_end

MAX_EVENTS = 1024  # waiting for a client that does not read; further ones are dropped


class Reports:
    """Call it to report an event; :meth:`send` sends them."""

    def __init__(self) -> None:
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(MAX_EVENTS)

    def __call__(self, event: str, fields: dict[str, Any]) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._events.put_nowait((event, fields))

    def link_changed(self, event: LinkEvent) -> None:
        """To be told of the link, see :meth:`irosh.node.links.Links.keep`."""
        if event.error is not None and event.error.code in ENDS:
            self.end(event.error)
        else:
            self(event.name, event.fields())

    def end(self, error: IroshError) -> None:
        """Have :meth:`send` raise ``error``."""
        if not self._ended.done():
            self._ended.set_exception(error)

    async def send(self, channel: Channel) -> None:
        """Send events until there is an end that no redialling mends: raises why."""
        await first_to_end(self.ended(), self._send(channel))

    async def ended(self) -> None:
        """Raises why nothing more can be done, once that is so."""
        await self._ended

    async def _send(self, channel: Channel) -> None:
        while True:
            event, fields = await self._events.get()
            await channel.event(event, **fields)
