"""Importing AsyncSSH: late, because it is slow, and without what its import would run."""

from __future__ import annotations

import asyncio
import ctypes.util
import sys
from importlib import import_module


async def load_ssh_library() -> None:
    """Have ``asyncssh`` imported, on a thread, so that a node's first shell does not hold up its tunnels."""
    if "asyncssh" not in sys.modules:
        await asyncio.to_thread(_import)


def _no_library(name: str) -> str | None:
    return None


def _import() -> None:
    """Its optional post-quantum library is looked for by running ldconfig, gcc and ld, whatever PATH calls so.

    That takes as long as the rest of the import, and no compiler has any business in a program that opens root shells.
    """
    find_library = ctypes.util.find_library
    ctypes.util.find_library = _no_library
    try:
        import_module("asyncssh")
    finally:
        ctypes.util.find_library = find_library
