"""The engine's threads, as the interpreter knows them.

Whenever such a thread calls back, the interpreter makes a state for it, with a stack of its own, and frees both again:
three system calls and an allocation in the way of each packet's news. Here a thread keeps its state once it has one.
"""

from __future__ import annotations

import ctypes
from threading import get_ident

_known: set[int] = set()


def keep_thread_state() -> None:
    """To be called by each callback: its thread keeps its state from now on. Threads of the engine live as long as it.

    An identifier that a later thread has again does no harm: that one has its state made anew each time, as without
    this.
    """
    thread = get_ident()
    if thread not in _known:
        _known.add(thread)
        # Ensured once more than released (Python/C API, "Non-Python created threads"). Here for the interpreter's own
        # threads too, which have one anyway.
        ctypes.pythonapi.PyGILState_Ensure()
