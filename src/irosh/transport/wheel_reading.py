"""Reads and writes of the wheel's streams by callback: for those that many small things pass, such as keystrokes.

The bindings make a coroutine, a task's turn and several objects of each; here one :class:`Operation` is used again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from irosh.transport.interfaces import Told
from irosh.transport.wheel_calls import Operation, StreamCalls

FAIR_SHARE = 16  # after so many writes in turn that had not to wait, other tasks run


class Reads:
    """The reads of one stream, one at a time."""

    __slots__ = ("_calls", "_operation", "_recv", "_status", "_told")

    def __init__(self, calls: StreamCalls, recv: Any) -> None:
        self._calls = calls
        self._recv = recv
        self._status = calls.status_type.default()
        self._operation = Operation(calls, calls.poll_read, calls.free_read, self._ready)
        self._told: Told | None = None

    def begin(self, limit: int, told: Told) -> None:
        """Read up to ``limit`` bytes; ``told``, maybe at once, what came of it: the bytes, or the engine's error."""
        self._told = told
        if self._operation.begin(self._calls.start_read(self._recv, limit, self._status)):
            self._ready()

    def cancel(self) -> None:
        """Let go of a read that is under way, with what it may have taken already."""
        self._told = None
        self._operation.end()

    def _ready(self) -> None:
        told, self._told = self._told, None
        outcome: bytes | Exception
        try:
            outcome = self._calls.finish_read(self._operation.future, self._status)
        except Exception as error:  # noqa: BLE001 - raised where the outcome is awaited
            outcome = error
            self._status = self._calls.status_type.default()
        self._operation.end()
        if told is not None:
            told(outcome)


class Writes:
    """The writes of one stream, one at a time, each of at most what :attr:`StreamCalls.outgoing` holds."""

    __slots__ = ("_at_once", "_calls", "_operation", "_send", "_status", "_waiting")

    def __init__(self, calls: StreamCalls, send: Any) -> None:
        self._calls = calls
        self._send = send
        self._status = calls.status_type.default()
        self._operation = Operation(calls, calls.poll_write, calls.free_write, self._ready)
        self._waiting: asyncio.Future[None] | None = None
        self._at_once = 0

    @property
    def is_waiting(self) -> bool:
        """Whether one is under way."""
        return self._waiting is not None

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``. Raises the engine's error."""
        size = len(data)
        self._calls.outgoing[:size] = data
        if self._operation.begin(self._calls.start_write(self._send, size, self._status)):
            self._at_once += 1
        else:
            self._at_once = 0
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            except BaseException:
                self._operation.end()
                raise
            finally:
                self._waiting = None
        try:
            self._calls.finish_write(self._operation.future, self._status)
        except BaseException:
            self._status = self._calls.status_type.default()
            raise
        finally:
            self._operation.end()
        if self._at_once == FAIR_SHARE:
            self._at_once = 0
            await asyncio.sleep(0)

    def _ready(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
