"""The first bytes on a carrier's stream, which say what it carries."""

from __future__ import annotations

import asyncio

from irosh.transport.interfaces import CarrierStream
from irosh.transport.session.frames import START_SIZE

START_DEADLINE = 10.0


async def read_start(stream: CarrierStream, limit: int) -> bytes:
    """``START_SIZE`` bytes and what came with them, fewer when it ends before; ``limit``: of one read.

    ``TimeoutError`` after the deadline; and what reading raises.
    """
    async with asyncio.timeout(START_DEADLINE):
        data = await stream.read(limit)
        while 0 < len(data) < START_SIZE and (more := await stream.read(limit)):
            data += more
    return data
