"""Objects of the iroh wheel are let go of by a thread of their own, never from inside a callback of the engine.

The engine calls Python, to say that something is ready, while it holds the lock of a connection. Python may collect
garbage, or drop a last reference, at any moment, also then; the bindings' ``__del__`` calls the engine, which for a
stream takes that same lock: the thread would wait for itself, and every other one for it, for ever.
``queue.SimpleQueue.put`` may be called from any ``__del__``.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

log = logging.getLogger(__name__)

Free = Callable[[], object]


class Freeing:
    """The thread. One for the process."""

    def __init__(self) -> None:
        self._due: SimpleQueue[Free] = SimpleQueue()
        self.later = self._due.put
        """Have something freed soon. May be called from anywhere."""
        threading.Thread(target=self._run, name="irosh freeing", daemon=True).start()

    def _run(self) -> None:
        while True:
            free = self._due.get()
            try:
                free()
            except Exception as error:  # noqa: BLE001 - as in a __del__, there is nobody to raise it to
                log.debug("iroh: freeing failed: %r", error)


def install(ffi: Any) -> tuple[Freeing, tuple[str, ...]]:
    """Have the objects of the bindings module ``ffi`` (``iroh.iroh_ffi``) freed so; also the names of their classes.

    A class of another make is left alone.
    """
    freeing = Freeing()
    names = []
    for name, kind in list(vars(ffi).items()):
        function = _free_function(ffi, kind)
        if function is not None:
            kind.__del__ = _handing_over(ffi, function, freeing)
            names.append(name)
    log.debug("iroh: freed by a thread: %s", ", ".join(names) or "nothing")
    return freeing, tuple(names)


def _free_function(ffi: Any, kind: Any) -> Any:
    """The engine's function that frees an object of the class ``kind``; None when it is no such class."""
    code = getattr(vars(kind).get("__del__"), "__code__", None) if isinstance(kind, type) else None
    if code is None or "_uniffi_rust_call" not in code.co_names:
        return None
    wanted = [name for name in code.co_names if name.startswith("uniffi_") and "_fn_free_" in name]
    return getattr(ffi._UniffiLib, wanted[0], None) if len(wanted) == 1 else None


def _handing_over(ffi: Any, function: Any, freeing: Freeing) -> Callable[[Any], None]:
    call = ffi._uniffi_rust_call

    def hand_over(self: Any) -> None:
        handle = getattr(self, "_handle", None)  # None in an instance that is not complete
        if handle is not None:
            freeing.later(lambda: call(function, handle))

    return hand_over
