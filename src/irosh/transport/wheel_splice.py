"""The two copies of a splice for the wheel, driven by callbacks: no task switch, no coroutine for each chunk.

Same contract as the copies of :mod:`irosh.transport.splice` for any engine; ``bench/tunnel.py`` shows the gain.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from irosh.transport.interfaces import ReceivingTap, SendingTap
from irosh.transport.splice import LARGE_CHUNK, SMALL_CHUNK, StaleCopy
from irosh.transport.wheel_calls import Operation, StreamCalls

# After so many chunks without a wait, let other streams have their turn.
_FAIR_SHARE = 16


async def socket_to_stream(calls: StreamCalls, sock: socket.socket, send: Any, tap: SendingTap) -> None:
    """Copy until the socket's end of input. Raises ``OSError`` or the engine's error."""
    copy = _Upward(calls, sock, send, tap)
    tap.interrupt = copy.interrupt
    try:
        await copy.done
    finally:
        copy.close()


async def stream_to_socket(calls: StreamCalls, recv: Any, sock: socket.socket, tap: ReceivingTap) -> None:
    """Copy until the stream's end. Raises ``OSError`` or the engine's error."""
    copy = _Downward(calls, recv, sock, tap)
    try:
        await copy.done
    finally:
        copy.close()


class _Copy:
    """What both directions share: an outcome, and steps whose failure becomes it."""

    def __init__(self, calls: StreamCalls, sock: socket.socket) -> None:
        self._calls = calls
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._status = calls.status_type.default()
        self.done: asyncio.Future[None] = self._loop.create_future()

    def _step(self, work: Callable[[], None]) -> None:
        if self.done.done():
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised where the outcome is awaited
            self.done.set_exception(error)


class _Upward(_Copy):
    """Socket to stream: reads while the stream takes what was read."""

    def __init__(self, calls: StreamCalls, sock: socket.socket, send: Any, tap: SendingTap) -> None:
        super().__init__(calls, sock)
        self._send = send
        self._tap = tap
        self._operation = Operation(calls, calls.poll_write, calls.free_write, lambda: self._step(self._written))
        self._reading = False
        self._read_on()

    def close(self) -> None:
        self._pause()
        self._operation.end()

    def interrupt(self) -> None:
        """End with :class:`StaleCopy`."""
        if not self.done.done():
            self.done.set_exception(StaleCopy())

    def _read_on(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.add_reader(self._sock.fileno(), self._step, self._readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    def _readable(self) -> None:
        try:
            size = self._sock.recv_into(self._calls.outgoing)
        except (BlockingIOError, InterruptedError):
            return
        if not size:
            self._pause()
            self.done.set_result(None)
            return
        self._tap.sending(self._calls.outgoing[:size])
        if self._operation.begin(self._calls.start_write(self._send, size, self._status)):
            self._finish()
            self._read_on_with_room()
        else:
            self._pause()

    def _written(self) -> None:
        self._finish()
        self._read_on_with_room()

    def _read_on_with_room(self) -> None:
        if self._tap.may_send(self._room):
            self._read_on()
        else:
            self._pause()

    def _room(self) -> None:
        self._step(self._read_on_with_room)

    def _finish(self) -> None:
        self._calls.finish_write(self._operation.future, self._status)
        self._operation.end()


class _Downward(_Copy):
    """Stream to socket: reads while the socket takes what was read."""

    def __init__(self, calls: StreamCalls, recv: Any, sock: socket.socket, tap: ReceivingTap) -> None:
        super().__init__(calls, sock)
        self._recv = recv
        self._tap = tap
        self._operation = Operation(calls, calls.poll_read, calls.free_read, lambda: self._step(self._received))
        self._limit = SMALL_CHUNK
        self._unsent: memoryview | None = None
        self._step(self._read_on)

    def close(self) -> None:
        if self._unsent is not None:
            self._loop.remove_writer(self._sock.fileno())
        self._operation.end()

    def _read_on(self) -> None:
        if self._operation.begin(self._calls.start_read(self._recv, self._limit, self._status)):
            self._received()

    def _received(self) -> None:
        for _ in range(_FAIR_SHARE):
            if not self._pass_on() or not self._operation.begin(
                self._calls.start_read(self._recv, self._limit, self._status)
            ):
                return
        self._loop.call_soon(self._step, self._received)

    def _pass_on(self) -> bool:
        """Send what a ready read brought. False when that has to wait for the socket, or was the end."""
        data = self._calls.finish_read(self._operation.future, self._status)
        self._operation.end()
        size = len(data)
        if not size:
            self.done.set_result(None)
            return False
        self._tap.received(size)
        if size == self._limit and size < LARGE_CHUNK:
            self._limit *= 4
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == size:
            return True
        self._unsent = memoryview(data)[sent:]
        self._loop.add_writer(self._sock.fileno(), self._step, self._writable)
        return False

    def _writable(self) -> None:
        assert self._unsent is not None
        try:
            sent = self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._unsent = None
            self._loop.remove_writer(self._sock.fileno())
            self._read_on()
