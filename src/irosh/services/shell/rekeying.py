"""New keys for an SSH connection when asked for (RFC 4253, section 9). The library has no call for it.

It begins a key exchange by itself once enough has been sent; here its count is raised to that. Where the library is
made otherwise than known, nothing is done.
"""

from __future__ import annotations

import asyncio
from typing import Any

DEADLINE = 10.0
_LOOK_EVERY = 0.02  # seconds


async def rekey(connection: Any) -> bool:
    """Exchange keys; whether that was complete within :data:`DEADLINE` seconds."""
    limit = getattr(connection, "_rekey_bytes", None)
    if limit is None or not hasattr(connection, "_rekey_bytes_sent") or not hasattr(connection, "_kex_complete"):
        return False
    connection._rekey_bytes_sent = limit
    connection.send_debug("rekey")  # any message will do; this one is for nobody, and waits for the new keys
    try:
        async with asyncio.timeout(DEADLINE):
            while not connection._kex_complete:  # noqa: ASYNC110 - the library has no event for it
                await asyncio.sleep(_LOOK_EVERY)
    except TimeoutError:
        return False
    return True
