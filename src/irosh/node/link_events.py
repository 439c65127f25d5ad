"""What happens to a link, told to the command that uses it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from irosh.node.control import Channel, Gone
from irosh.transport.session.lifetime import LinkEvent, SessionLifetime

MAX_EVENTS = 256  # waiting for a client that does not read; further ones are dropped


@asynccontextmanager
async def link_events(session: SessionLifetime, channel: Channel) -> AsyncIterator[None]:
    """Send each event of the link to the client while the context lasts."""
    events: asyncio.Queue[LinkEvent] = asyncio.Queue(MAX_EVENTS)

    def report(event: LinkEvent) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            events.put_nowait(event)

    async def send() -> None:
        with contextlib.suppress(Gone):
            while True:
                event = await events.get()
                await channel.event(event.name, **event.fields())

    sending = asyncio.create_task(send())
    try:
        with session.watched(report):
            yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
