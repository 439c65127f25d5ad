"""Reading a number of bytes from a stream that gives them as they come."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


async def read_exactly(read: Callable[[int], Awaitable[bytes]], size: int) -> bytes:
    """``size`` bytes by as many calls of ``read`` as that takes; ``EOFError`` when they end before."""
    data = bytearray()
    while len(data) < size:
        chunk = await read(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)
