"""The rendezvous modes of one node, each started when it is first needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from irosh.core.errors import IroshError
from irosh.core.mode import Mode
from irosh.core.network_choice import NetworkChoice
from irosh.core.network_options import NetworkOptions
from irosh.rendezvous.interfaces import Contact, Hosting, Rendezvous

Starter = Callable[[NetworkOptions, Hosting | None], Awaitable[Rendezvous]]


class Modes:
    """``options`` are the node's own; a command may choose others for what it dials."""

    def __init__(self, starters: Mapping[Mode, Starter], options: NetworkOptions, endpoint_id: str) -> None:
        self._starters = starters
        self._options = options
        self._endpoint_id = endpoint_id
        self._hosting: dict[Mode, Rendezvous] = {}
        self._started: dict[tuple[Mode, NetworkOptions | None], Rendezvous] = {}
        self._starting = asyncio.Lock()

    async def host(self, modes: Sequence[Mode], hosting: Hosting) -> None:
        """Start ``modes`` to let peers in. ``IroshError`` when one cannot."""
        for mode in modes:
            rendezvous = await self._starters[mode](self._options, hosting)
            self._hosting[mode] = rendezvous
            self._started[self._key(mode, self._options)] = rendezvous

    async def get(self, mode: Mode, choice: NetworkChoice) -> Rendezvous:
        """The rendezvous for dialling in ``mode`` with what a command chose. ``IroshError`` when it cannot start."""
        options = choice.applied_to(self._options)
        async with self._starting:
            key = self._key(mode, options)
            if (started := self._started.get(key)) is None:
                started = self._started[key] = await self._starters[mode](options, None)
            return started

    @staticmethod
    def _key(mode: Mode, options: NetworkOptions) -> tuple[Mode, NetworkOptions | None]:
        # A relay serves only one endpoint of an identity, so there is one persistent endpoint, however it began.
        return mode, None if mode is Mode.IROH_DEFAULT else options

    @property
    def first_hosted(self) -> Mode:
        """The mode that tickets of this node name."""
        return next(iter(self._hosting), Mode.IROH_DEFAULT)

    @property
    def hosted(self) -> list[Mode]:
        """The modes in which peers are let in."""
        return list(self._hosting)

    def hosting(self) -> list[Rendezvous]:
        """Those that let peers in."""
        return list(self._hosting.values())

    def contact(self) -> Contact:
        """How peers reach this node, by all the modes in use."""
        contacts = [rendezvous.contact() for rendezvous in (self._hosting or self._started).values()]
        return Contact(
            self._endpoint_id,
            relays=tuple(dict.fromkeys(url for contact in contacts for url in contact.relays)),
            addresses=tuple(dict.fromkeys(address for contact in contacts for address in contact.addresses)),
            npub=next((contact.npub for contact in contacts if contact.npub), None),
            nostr_relays=tuple(dict.fromkeys(url for contact in contacts for url in contact.nostr_relays)),
        )

    async def problems(self) -> list[IroshError]:
        """What keeps peers from reaching this node as its owner meant."""
        found = await asyncio.gather(*(rendezvous.problems() for rendezvous in self.hosting()))
        return [problem for problems in found for problem in problems]

    async def close(self) -> None:
        """Close all."""
        started = dict.fromkeys([*self._hosting.values(), *self._started.values()])
        await asyncio.gather(*(rendezvous.close() for rendezvous in started))
