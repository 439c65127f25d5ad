"""Reading and writing pipes and terminals without blocking the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress

READ_SIZE = 128 * 1024
_A_TERMINAL_FULL = 2048
"""Bytes of a read that was one of many: a terminal hands over 4 KiB at once at most (n_tty(4))."""
_GATHERED = 32 * 1024


async def read_descriptor(descriptor: int) -> bytes:
    """Some bytes from a non-blocking descriptor; ``b""`` at its end, also when a terminal's other side has closed.

    Of a terminal that is flooded more than one read, so that what follows is not done for each few bytes.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = os.read(descriptor, READ_SIZE)
            return data if not _A_TERMINAL_FULL < len(data) < _GATHERED else _gathered(descriptor, data)
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


def _gathered(descriptor: int, first: bytes) -> bytes:
    """``first``, and what there is behind it. Its end, or an error, is met again by the next read."""
    parts, size = [first], len(first)
    with suppress(OSError):
        while size < _GATHERED and (data := os.read(descriptor, READ_SIZE)):
            parts.append(data)
            size += len(data)
    return b"".join(parts)


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
