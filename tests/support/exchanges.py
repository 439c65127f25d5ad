"""Offers and answers carried between two nodes in one process, by a hand that a test moves."""

from __future__ import annotations

import asyncio

from irosh.core.errors import ErrorCode, IroshError
from irosh.rendezvous.interfaces import BlockKind


class Hand:
    """The exchange of one node: what it shows comes out of :meth:`next`; what it asks for is given by :meth:`paste`."""

    def __init__(self) -> None:
        self._shown: asyncio.Queue[tuple[BlockKind, str]] = asyncio.Queue()
        self.notes: asyncio.Queue[IroshError] = asyncio.Queue()
        self._pasted: asyncio.Queue[str | None] = asyncio.Queue()

    async def show(self, kind: BlockKind, block: str) -> None:
        self._shown.put_nowait((kind, block))

    async def ask(self, kind: BlockKind) -> str:
        text = await self._pasted.get()
        if text is None:
            raise IroshError(ErrorCode.USAGE, f"the input ended before an {kind} came")
        return text

    async def note(self, error: IroshError) -> None:
        self.notes.put_nowait(error)

    def paste(self, text: str) -> None:
        """Give the node a text."""
        self._pasted.put_nowait(text)

    def leave(self) -> None:
        """Nothing more will be pasted."""
        self._pasted.put_nowait(None)

    async def next(self, kind: BlockKind) -> str:
        """The next block that the node shows, which has to be of ``kind``."""
        shown, block = await self._shown.get()
        assert shown == kind
        return block
