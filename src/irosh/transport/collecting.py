"""Freeing the ports of closed endpoints soon.

The engine keeps a port as long as any object of its endpoint is alive. A cancelled task group leaves exceptions that
hold each other (Python issue 128479), and through their tracebacks such objects; a process that has little to do would
not look for them in hours.
"""

from __future__ import annotations

import asyncio
import gc
from weakref import WeakKeyDictionary

AFTER = (1.0, 6.0, 20.0)
"""Seconds. Other sessions may end in the first, too: a collection takes some 20 to 80 ms. What is held a little longer,
as by a program that takes its time to end, is found by the later ones."""
_due: WeakKeyDictionary[asyncio.AbstractEventLoop, set[float]] = WeakKeyDictionary()


def collect_soon() -> None:
    """Have garbage collected once the tasks that end now have ended."""
    loop = asyncio.get_running_loop()
    due = _due.setdefault(loop, set())
    for after in AFTER:
        if after not in due:
            due.add(after)
            loop.call_later(after, _collect, due, after)


def _collect(due: set[float], after: float) -> None:
    due.discard(after)
    gc.collect()
