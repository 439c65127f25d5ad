"""Reading and writing pipes and terminals without blocking the event loop."""

from __future__ import annotations

import asyncio
import errno
import os

READ_SIZE = 128 * 1024


async def read_descriptor(descriptor: int) -> bytes:
    """Some bytes from a non-blocking descriptor; ``b""`` at its end, also when a terminal's other side has closed."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(descriptor, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            if error.errno == errno.EIO:  # Linux: all processes have closed the terminal
                return b""
            raise
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(descriptor, _resolve, ready)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)


async def write_descriptor(descriptor: int, data: bytes) -> None:
    """Write all of ``data`` to a non-blocking descriptor."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
            continue
        except (BlockingIOError, InterruptedError):
            pass
        await until_writable(descriptor)


async def until_writable(descriptor: int) -> None:
    """Wait until a descriptor may take something."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_writer(descriptor)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
