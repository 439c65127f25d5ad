"""Freeing the ports of closed endpoints soon.

The engine keeps a port as long as any object of its endpoint is alive. A cancelled task group leaves exceptions that
hold each other (Python issue 128479), and through their tracebacks such objects; a process that has little to do would
not look for them in hours.
"""

from __future__ import annotations

import asyncio
import gc
from weakref import WeakSet

AFTER = 1.0  # seconds in which other sessions may end too: a collection takes some 20 to 80 ms
_due: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


def collect_soon() -> None:
    """Have garbage collected once the tasks that end now have ended."""
    loop = asyncio.get_running_loop()
    if loop not in _due:
        _due.add(loop)
        loop.call_later(AFTER, _collect, loop)


def _collect(loop: asyncio.AbstractEventLoop) -> None:
    _due.discard(loop)
    gc.collect()
