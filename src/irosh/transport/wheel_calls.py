"""The C calls behind the wheel's streams, without an event loop task for each: what a fast splice is made of.

The bindings wrap every read and write in a coroutine, a future and several copies. Here one :class:`Operation` for each
direction polls the engine's own futures and hears of their completion by callback (uniffi's foreign future contract).
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import struct
from collections.abc import Callable
from itertools import count
from typing import Any

from irosh.transport.engine_threads import keep_thread_state
from irosh.transport.splice import LARGE_CHUNK

log = logging.getLogger(__name__)

_LENGTH = struct.Struct(">i")  # uniffi's prefix of a byte string


class StreamCalls:
    """The calls of one bindings module. One for the process; used from the thread of the event loop."""

    def __init__(self, ffi: Any) -> None:
        lib = ffi._UniffiLib
        self.status_type = ffi._UniffiRustCallStatus
        self.ready_code = ffi._UNIFFI_RUST_FUTURE_POLL_READY
        self._check = ffi._uniffi_check_call_status
        self._error = ffi._UniffiFfiConverterTypeIrohError__as_error
        self._foreign_bytes = ffi._UniffiForeignBytes
        self._clone_recv = lib.uniffi_iroh_ffi_fn_clone_recvstream
        self._clone_send = lib.uniffi_iroh_ffi_fn_clone_sendstream
        self._read = lib.uniffi_iroh_ffi_fn_method_recvstream_read
        self._write = lib.uniffi_iroh_ffi_fn_method_sendstream_write_all
        self.poll_read = lib.ffi_iroh_ffi_rust_future_poll_rust_buffer
        self._complete_read = lib.ffi_iroh_ffi_rust_future_complete_rust_buffer
        self.free_read = lib.ffi_iroh_ffi_rust_future_free_rust_buffer
        self.poll_write = lib.ffi_iroh_ffi_rust_future_poll_void
        self._complete_write = lib.ffi_iroh_ffi_rust_future_complete_void
        self.free_write = lib.ffi_iroh_ffi_rust_future_free_void
        self._buffer_free = lib.ffi_iroh_ffi_rustbuffer_free
        self._buffer_of = lib.ffi_iroh_ffi_rustbuffer_from_bytes
        # One buffer for all writes: filled and copied by the engine without a wait between.
        self._scratch = bytearray(LARGE_CHUNK + _LENGTH.size)
        self._pinned = (ctypes.c_char * len(self._scratch)).from_buffer(self._scratch)
        self._pointer = ctypes.cast(self._pinned, ctypes.POINTER(ctypes.c_char))
        self.outgoing = memoryview(self._scratch)[_LENGTH.size :]
        self.waiting: dict[int, Operation] = {}
        self.tokens = count(1)
        self.continuation = ffi._UNIFFI_RUST_FUTURE_CONTINUATION_CALLBACK(self._continue)
        self._prove(ffi)

    def start_read(self, recv: Any, limit: int, status: Any) -> int:
        """A future for at most ``limit`` bytes of a wheel's receive stream."""
        return int(self._read(self._clone_recv(recv._handle, ctypes.byref(status)), limit))

    def finish_read(self, future: int, status: Any) -> bytes:
        """The bytes of a ready read; the engine's error otherwise."""
        buffer = self._complete_read(future, ctypes.byref(status))
        if status.code:
            self._check(self._error, status)
        data: bytes = buffer.data[_LENGTH.size : buffer.len]
        self._buffer_free(buffer, ctypes.byref(status))
        return data

    def start_write(self, send: Any, size: int, status: Any) -> int:
        """A future for writing the first ``size`` bytes of ``outgoing``, which may be used again at once."""
        return int(self._write(self._clone_send(send._handle, ctypes.byref(status)), self._lowered(size, status)))

    def finish_write(self, future: int, status: Any) -> None:
        """The end of a ready write; the engine's error if it failed."""
        self._complete_write(future, ctypes.byref(status))
        if status.code:
            self._check(self._error, status)

    def _lowered(self, size: int, status: Any) -> Any:
        _LENGTH.pack_into(self._scratch, 0, size)
        return self._buffer_of(self._foreign_bytes(size + _LENGTH.size, self._pointer), ctypes.byref(status))

    def _continue(self, token: int, code: int) -> None:
        """Called by the engine, from inside a poll or from a thread of its own."""
        keep_thread_state()
        operation = self.waiting.pop(token)
        operation.code = code
        if operation.armed:
            try:
                operation.loop.call_soon_threadsafe(operation.wake, token)
            except RuntimeError:
                log.debug("event loop closed while a copy was under way")

    def _prove(self, ffi: Any) -> None:
        """That this module's idea of a byte string is the bindings' own; ``AttributeError`` otherwise."""
        self.outgoing[:5] = b"probe"
        if ffi._UniffiFfiConverterBytes.lift(self._lowered(5, self.status_type.default())) != b"probe":
            raise AttributeError("byte strings have another form")


def stream_calls(ffi: Any) -> StreamCalls | None:
    """The calls of the bindings module ``ffi``; None when it is not made as this module knows it."""
    try:
        return StreamCalls(ffi)
    except (AttributeError, TypeError, ctypes.ArgumentError) as error:
        log.debug("iroh's streams are copied by the general way: %s", error)
        return None


class Operation:
    """One direction of one stream: at most one of the engine's futures at a time. ``on_ready`` runs in the loop."""

    __slots__ = ("_calls", "_free", "_on_ready", "_poll", "_token", "armed", "code", "future", "loop")

    def __init__(self, calls: StreamCalls, poll: Any, free: Any, on_ready: Callable[[], None]) -> None:
        self._calls = calls
        self._poll = poll
        self._free = free
        self._on_ready = on_ready
        self._token = 0
        self.loop = asyncio.get_running_loop()
        self.armed = False
        self.code: int | None = None
        self.future = 0

    def begin(self, future: int) -> bool:
        """Poll a new future. True when it is ready now; otherwise ``on_ready`` is called once it is."""
        self.future = future
        return self._ready_now()

    def wake(self, token: int) -> None:
        """The engine has news of the poll ``token``; stale ones are ignored."""
        if token != self._token or not self.future:
            return
        self._token = 0
        if self.code == self._calls.ready_code or self._ready_now():
            self._on_ready()

    def end(self) -> None:
        """Let go of the future, ready or not."""
        if self.future:
            future, self.future, self._token = self.future, 0, 0
            self._free(future)

    def _answered(self) -> bool:
        return self.code is not None

    def _ready_now(self) -> bool:
        calls = self._calls
        while True:
            self.armed = False
            self.code = None
            self._token = token = next(calls.tokens)
            calls.waiting[token] = self
            self._poll(self.future, calls.continuation, token)
            if not self._answered():
                self.armed = True
                # The engine's thread may have answered between the two lines above.
                if not self._answered():
                    return False
                self._token = 0
            if self.code == calls.ready_code:
                return True
