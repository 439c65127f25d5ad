"""The sockets this process has open, to see that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PATIENCE = 5.0


def open_sockets() -> int:
    """How many there are, of any kind."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(descriptor).startswith("socket:")
        except FileNotFoundError:
            continue
    return found


@asynccontextmanager
async def no_socket_is_left() -> AsyncIterator[None]:
    """As many are open after the block as before it, once the engine, in a thread of its own, has closed its own."""
    before = open_sockets()
    yield
    gc.collect()
    async with asyncio.timeout(PATIENCE):
        while open_sockets() > before:
            gc.collect()
            await asyncio.sleep(0.02)
