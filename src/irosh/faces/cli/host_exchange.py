"""The exchange of offers and answers of ``irosh host``: on standard input and output, or by files."""

from __future__ import annotations

import asyncio
import os
import threading

from irosh.core.errors import IroshError
from irosh.faces.cli.blocks import POLL, Blocks
from irosh.rendezvous.interfaces import BlockKind


class HostExchange:
    """See :class:`irosh.rendezvous.interfaces.Exchange`."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._typed: asyncio.Queue[bytes] = asyncio.Queue(64)
        self._reader: threading.Thread | None = None
        self._ended = False

    async def show(self, kind: BlockKind, block: str) -> None:
        self._blocks.show(kind, block)

    async def ask(self, kind: BlockKind) -> str:
        self._blocks.want(kind)
        while True:
            if self._blocks.polls:
                block = self._blocks.from_file()
                if block is None:
                    await asyncio.sleep(POLL)
            else:
                block, rest = self._blocks.typed(await self._next_typed())
                if rest.strip():
                    self._typed.put_nowait(rest)
            if block is not None:
                return block

    async def note(self, error: IroshError) -> None:
        self._blocks.refused(error)

    async def _next_typed(self) -> bytes:
        if self._reader is None:
            loop = asyncio.get_running_loop()
            # A thread, because standard input may be a file; it ends with the process.
            self._reader = threading.Thread(target=self._read_stdin, args=(loop,), daemon=True)
            self._reader.start()
        if not self._ended:
            data = await self._typed.get()
            if data:
                return data
            self._ended = True
        # Nobody will paste an answer. Those who reach this host without one still do.
        await loop_forever()
        raise AssertionError

    def _read_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            try:
                data = os.read(0, 4096)
            except OSError:
                data = b""
            try:
                asyncio.run_coroutine_threadsafe(self._typed.put(data), loop).result()
            except (RuntimeError, asyncio.CancelledError):
                return  # the host has stopped
            if not data:
                return


async def loop_forever() -> None:
    """Until cancelled."""
    await asyncio.get_running_loop().create_future()
