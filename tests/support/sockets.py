"""The sockets this process has open, to see that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
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


@contextmanager
def reserved_port() -> Iterator[int]:
    """A TCP port of loopback that nobody listens on, until a server that reuses addresses does. Nobody else gets it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


def closed_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
