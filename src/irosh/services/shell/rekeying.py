"""New keys for an SSH connection when asked for (RFC 4253, section 9). The library has no call for it.

It begins a key exchange by itself once enough has been sent; here its count is raised to that. Where the library is
made otherwise than known, or does not begin one by that, this is said.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh

from irosh.core.errors import ErrorCode, IroshError

DEADLINE = 10.0
_LOOK_EVERY = 0.02  # seconds
_ATTRIBUTES = ("_rekey_bytes", "_rekey_bytes_sent", "_kex_complete")


async def rekey(connection: Any) -> None:
    """Exchange keys. ``IroshError``: internal, where the library cannot be made to; connection-lost; timeout."""
    if not all(hasattr(connection, each) for each in _ATTRIBUTES):
        raise _unknown_library()
    connection._rekey_bytes_sent = connection._rekey_bytes
    connection.send_debug("rekey")  # any message will do; this one is for nobody, and waits for the new keys
    if connection._kex_complete:
        raise _unknown_library()
    try:
        async with asyncio.timeout(DEADLINE):
            while not connection._kex_complete:  # the library has no event for it
                if connection.is_closed():
                    raise IroshError(ErrorCode.CONNECTION_LOST, "the connection was lost")
                await asyncio.sleep(_LOOK_EVERY)
    except TimeoutError:
        raise IroshError(ErrorCode.TIMEOUT, f"the peer has not answered within {DEADLINE:.0f} s") from None


def _unknown_library() -> IroshError:
    return IroshError(
        ErrorCode.INTERNAL,
        f"AsyncSSH {asyncssh.__version__} offers no known way to begin a key exchange: the keys are the old ones",
    )
