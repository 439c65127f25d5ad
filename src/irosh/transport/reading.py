"""Reads by callback, for engines that have them as coroutines only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from irosh.transport.interfaces import ByteStream, Told


def begin_read(stream: ByteStream, limit: int, told: Told) -> Callable[[], object]:
    """:meth:`irosh.transport.interfaces.CarrierStream.begin_read` for any engine."""
    task = asyncio.ensure_future(stream.read(limit))
    task.add_done_callback(partial(_tell, told))
    return task.cancel


def _tell(told: Told, task: asyncio.Task[bytes]) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if error is None:
        told(task.result())
    elif isinstance(error, Exception):
        told(error)
