"""Reading and writing pipes and terminals without blocking the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress

READ_SIZE = 128 * 1024
_TERMINAL_FULL = 2048
"""Bytes of a read that has more behind it, mostly: a terminal hands over 4 KiB at once at most (n_tty(4))."""
_GATHERED = 28 * 1024  # with one read more it is one message of SSH, which takes 32 KiB
# One buffer for all reads: filled and copied without a wait between. Saves an allocation of its size for each.
_buffer = memoryview(bytearray(READ_SIZE))


async def read_descriptor(descriptor: int) -> bytes:
    """Some bytes from a non-blocking descriptor; ``b""`` at its end, also when a terminal's other side has closed.

    Of a terminal that is flooded more than one read, so that what follows is not done for each few bytes.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            size = os.readv(descriptor, (_buffer,))
            if _TERMINAL_FULL < size < _GATHERED:
                size = _gathered(descriptor, size)
            return bytes(_buffer[:size])
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


def _gathered(descriptor: int, size: int) -> int:
    """Read on behind the first ``size`` bytes; how many there are then. Its end the next read meets again."""
    with suppress(OSError):
        while size < _GATHERED and (more := os.readv(descriptor, (_buffer[size:],))):
            size += more
    return size


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
