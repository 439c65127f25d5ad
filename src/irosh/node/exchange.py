"""Offers and answers of the manual modes, carried by whoever runs the attached command."""

from __future__ import annotations

import asyncio
import contextlib
from functools import cached_property

from irosh.core.errors import IroshError
from irosh.node.control import Channel, Gone
from irosh.node.questions import Questions
from irosh.rendezvous.interfaces import BlockKind


class ChannelExchange:
    """See :class:`irosh.rendezvous.interfaces.Exchange`. Needs the channel to be read meanwhile."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @cached_property
    def questions(self) -> Questions:
        """To ask whoever runs the command other things. A channel has one only, which gets the answers."""
        return Questions(self._channel)

    async def show(self, kind: BlockKind, block: str) -> None:
        await self._channel.event("block", kind=kind, block=block)

    async def ask(self, kind: BlockKind) -> str:
        await self._channel.event("paste", kind=kind)
        try:
            return await self._channel.pasted()
        except asyncio.CancelledError:
            # The peer was found without it. What is typed from now on is no block.
            with contextlib.suppress(Gone, OSError):
                await self._channel.event("paste-over", kind=kind)
            raise

    async def note(self, error: IroshError) -> None:
        await self._channel.event("block-refused", error=error.to_dict())
