"""Signals that ask a command to end, other than Ctrl-C."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def ending_signals() -> list[signal.Signals]:
    """SIGTERM, and SIGHUP unless the command was started to survive it (nohup)."""
    return [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def ended_as_interrupted(*besides: signal.Signals) -> Iterator[None]:
    """These signals, and ``besides``, end the block as Ctrl-C does: listeners are closed, peers and the node are told.

    Further ones change nothing, or they would interrupt just that: a closed terminal tells its programs more than once.
    """
    interrupted = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (*ending_signals(), *besides)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
