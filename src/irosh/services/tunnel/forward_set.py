"""The forwards that somebody holds: an attached command, or the node itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.mode import MANUAL_MODES
from irosh.node.destination import Destination
from irosh.node.kept_link import KeptLink
from irosh.services.tunnel.forward import Forward, ForwardContext, LinkContext, WayContext
from irosh.services.tunnel.local_forward import LocalForward
from irosh.services.tunnel.messages import ForwardText
from irosh.services.tunnel.remote_forward import RemoteForward
from irosh.services.tunnel.way_forward import WayRemoteForward
from irosh.transport.session.lifetime import LinkEvent

MAX_FORWARDS = 256


class ForwardSet:
    """Forwards to one peer, at ``destination``, or to an ordinary SSH server; ended with the set."""

    def __init__(self, context: ForwardContext, destination: Destination | None = None) -> None:
        self._changed = asyncio.Event()
        self._forwards: list[Forward] = []
        self._stopped: list[Forward] = []
        self._users = 0
        self._destination = destination
        self.context = context
        context.changed = self._changed.set

    def goes_to(self, asked: Destination) -> bool:
        """Whether these are forwards to that peer, by that way if it says one."""
        own = self._destination
        return own is not None and own.peer_id == asked.peer_id and asked.way in (None, own.way)

    async def add(self, asked: ForwardText) -> Forward:
        """Begin a forward. ``IroshError``: denied, port-taken, bind-failed, …"""
        if len(self._forwards) >= MAX_FORWARDS:
            raise IroshError(ErrorCode.BUSY, f"{MAX_FORWARDS} forwards at once are enough")
        forward = _forward(asked, self.context)
        await forward.start()
        self._forwards.append(forward)
        self._changed.set()
        return forward

    def find(self, asked: ForwardText) -> Forward | None:
        """The forward that listens there; ``target`` need not be given."""
        return next((forward for forward in self._forwards if _is_meant(forward, asked)), None)

    async def cancel(self, forward: Forward) -> None:
        """Have ``forward`` listen no more; its open connections go on."""
        self._forwards.remove(forward)
        self._stopped.append(forward)
        await forward.stop()
        self._changed.set()

    def states(self) -> list[dict[str, Any]]:
        """Each forward, also those that only carry their last connections."""
        self._stopped = [forward for forward in self._stopped if forward.carried]
        return [
            *({**forward.to_dict(), "cancelled": False} for forward in self._forwards),
            *({**forward.to_dict(), "cancelled": True} for forward in self._stopped),
        ]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Somebody is about to add a forward while the context lasts."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._changed.set()

    @property
    def is_unused(self) -> bool:
        """Whether there is no forward, and no connection of those there were."""
        return not (self._users or self._forwards or any(forward.carried for forward in self._stopped))

    async def wait_unused(self) -> None:
        """Return once :attr:`is_unused`."""
        while not self.is_unused:
            self._changed.clear()
            await self._changed.wait()

    async def wait_idle(self) -> None:
        """Return once no connection is open."""
        while any(forward.carried for forward in (*self._forwards, *self._stopped)):
            self._changed.clear()
            await self._changed.wait()

    def link_restored(self) -> None:
        """There is a new session with the peer."""
        for forward in self._forwards:
            forward.link_restored()

    async def aclose(self) -> None:
        """End all, with their connections."""
        forwards, self._forwards, self._stopped = [*self._forwards, *self._stopped], [], []
        for forward in forwards:
            await forward.stop()
            await forward.abort()


@asynccontextmanager
async def kept(forwards: ForwardSet, context: LinkContext, link: KeptLink) -> AsyncIterator[None]:
    """Keep the link of ``forwards`` while the context lasts, then end them.

    In the manual modes somebody would have to paste for a new session, so there they end with the session.
    """
    watch = _watched if context.destination.mode in MANUAL_MODES else _renewed
    try:
        async with watch(forwards, context, link):
            yield
    finally:
        await forwards.aclose()
        link.ended.cancel()


@asynccontextmanager
async def _renewed(forwards: ForwardSet, context: LinkContext, link: KeptLink) -> AsyncIterator[None]:
    def changed(event: LinkEvent) -> None:
        if event.name == "restored":
            forwards.link_restored()
        link.changed(event)

    async with context.node.links.keep(context.destination, changed):
        yield


@asynccontextmanager
async def _watched(_forwards: ForwardSet, context: LinkContext, link: KeptLink) -> AsyncIterator[None]:
    session = (await context.connect()).session

    async def watch() -> None:
        link.end(await session.wait_closed())

    watching = asyncio.create_task(watch())
    try:
        with session.watched(link.changed):
            yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _forward(asked: ForwardText, context: ForwardContext) -> Forward:
    if asked.kind != "R":
        return LocalForward(asked, context)
    if isinstance(context, WayContext):
        return WayRemoteForward(asked, context)
    assert isinstance(context, LinkContext)
    return RemoteForward(asked, context)


def _is_meant(forward: Forward, asked: ForwardText) -> bool:
    if forward.asked.kind != asked.kind or (asked.target is not None and forward.asked.target != asked.target):
        return False
    if (forward.asked.host, forward.asked.port, forward.asked.path) == (asked.host, asked.port, asked.path):
        return True
    # By the port that was chosen for port 0.
    return bool(asked.port) and [(spec.host, spec.port) for spec in forward.listens] == [
        (spec.host, spec.port) for spec in asked.listens()
    ]
