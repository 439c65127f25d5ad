"""Faster byte hand-over to and from the iroh wheel, where the wheel needs it.

The bindings of iroh 1.2.0 (uniffi 0.31) copy every buffer that is sent byte by byte in Python, and send every
finished call once around the event loop, even when its result is there at once. Both cost more than QUIC itself.
:func:`install` replaces the two private functions concerned, only if they still have that slow shape; a wheel that
has mended them is left alone. ``bench/wheel.py`` shows the gain.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import struct
import sys
import threading
from collections.abc import Callable, Generator
from itertools import count
from typing import Any

from irosh.transport.engine_threads import keep_thread_state
from irosh.transport.wheel_freeing import Freeing

log = logging.getLogger(__name__)

# After so many calls that finished without waiting, let the other tasks of the loop run.
_FAIR_SHARE = 16
SWITCH_INTERVAL = 0.0002  # seconds
_ASYNC_ARGUMENTS = ("rust_future", "ffi_poll", "ffi_complete", "ffi_free", "lift_func", "error_ffi_converter")


def install(ffi: Any, freeing: Freeing) -> tuple[str, ...]:
    """Replace the slow functions of the bindings module ``ffi`` (``iroh.iroh_ffi``).

    Returns the names of what was replaced; empty when the wheel no longer needs it.
    """
    replaced = []
    if _copies_bytewise(ffi):
        ffi._UniffiRustBufferBuilder.write = _memmove_write(ffi)
        ffi._UniffiFfiConverterBytes.lower = staticmethod(_memmove_lower(ffi))
        replaced.append("write")
    if _always_goes_round_the_loop(ffi):
        ffi._uniffi_rust_call_async = _inline_call_async(ffi, freeing)
        replaced.append("call_async")
    # The engine's threads need the interpreter's lock to hand over each answer. By default Python makes a thread wait
    # for it up to 5 ms while another computes: ten round trips' time.
    sys.setswitchinterval(SWITCH_INTERVAL)
    log.debug("iroh fast path: %s", ", ".join(replaced) or "not needed")
    return tuple(replaced)


def _copies_bytewise(ffi: Any) -> bool:
    builder = getattr(ffi, "_UniffiRustBufferBuilder", None)
    code = getattr(getattr(builder, "write", None), "__code__", None)
    converter = getattr(ffi, "_UniffiFfiConverterBytes", None)
    return code is not None and "enumerate" in code.co_names and hasattr(converter, "lower")


def _always_goes_round_the_loop(ffi: Any) -> bool:
    code = getattr(getattr(ffi, "_uniffi_rust_call_async", None), "__code__", None)
    wanted = ("_UNIFFI_RUST_FUTURE_CONTINUATION_CALLBACK", "_UNIFFI_RUST_FUTURE_POLL_READY")
    return (
        code is not None
        and code.co_varnames[: code.co_argcount] == _ASYNC_ARGUMENTS
        and "_uniffi_continuation_callback" in code.co_names
        and all(hasattr(ffi, name) for name in wanted)
    )


def _memmove_write(ffi: Any) -> Callable[[Any, Any], None]:
    def write(self: Any, value: Any) -> None:
        size = len(value)
        rbuf = self.rbuf
        if rbuf.len + size > rbuf.capacity:
            self.rbuf = rbuf = ffi._UniffiRustBuffer.reserve(rbuf, size)
        if size:
            ctypes.memmove(ctypes.addressof(rbuf.data.contents) + rbuf.len, bytes(value), size)
        rbuf.len += size

    return write


def _memmove_lower(ffi: Any) -> Callable[[Any], Any]:
    """Lower one byte string: a big-endian i32 length, then the bytes (uniffi's encoding of ``Vec<u8>``)."""

    def lower(value: Any) -> Any:
        size = len(value)
        rbuf = ffi._UniffiRustBuffer.alloc(size + 4)
        address = ctypes.addressof(rbuf.data.contents)
        ctypes.memmove(address, struct.pack(">i", size), 4)
        if size:
            ctypes.memmove(address + 4, bytes(value), size)
        rbuf.len = size + 4
        return rbuf

    return lower


class _Waiting:
    """One poll of a Rust future whose answer may come inline, or later from a thread of the runtime."""

    __slots__ = ("code", "future", "thread")

    def __init__(self, future: asyncio.Future[int], thread: int) -> None:
        self.future = future
        self.thread: int | None = thread
        self.code: int | None = None


def _inline_call_async(ffi: Any, freeing: Freeing) -> Callable[..., Any]:
    ready = ffi._UNIFFI_RUST_FUTURE_POLL_READY
    tokens = count(1)
    waiting: dict[int, _Waiting] = {}
    inline_answers = count(1)

    def resolve(future: asyncio.Future[int], code: int) -> None:
        if not future.done():
            future.set_result(code)

    @ffi._UNIFFI_RUST_FUTURE_CONTINUATION_CALLBACK  # type: ignore[untyped-decorator]
    def continuation(token: int, code: int) -> None:
        keep_thread_state()
        entry = waiting.pop(token)
        if entry.thread == threading.get_ident():
            entry.code = code
            return
        loop = entry.future.get_loop()
        if not loop.is_closed():
            try:
                loop.call_soon_threadsafe(resolve, entry.future, code)
            except RuntimeError:
                log.debug("event loop closed while a call into iroh was under way")

    async def call_async(
        rust_future: Any,
        ffi_poll: Any,
        ffi_complete: Any,
        ffi_free: Any,
        lift_func: Any,
        error_ffi_converter: Any,
    ) -> Any:
        loop = asyncio.get_running_loop()
        thread = threading.get_ident()
        try:
            while True:
                entry = _Waiting(loop.create_future(), thread)
                token = next(tokens)
                waiting[token] = entry
                ffi_poll(rust_future, continuation, token)
                # From here on an answer comes from another call, maybe on this same thread: no longer inline.
                entry.thread = None
                code = entry.code
                if code is None:
                    code = await entry.future
                elif next(inline_answers) % _FAIR_SHARE == 0:
                    await _yield_once()
                if code == ready:
                    break
            return lift_func(ffi._uniffi_rust_call_with_error(error_ffi_converter, ffi_complete, rust_future))
        finally:
            if threading.get_ident() == thread:
                ffi_free(rust_future)
            else:  # abandoned, and collected from inside a callback
                freeing.later(lambda: ffi_free(rust_future))

    # ctypes callbacks must outlive every call that Rust may still make.
    call_async.continuation = continuation  # type: ignore[attr-defined]
    return call_async


class _yield_once:
    """What ``asyncio.sleep(0)`` does, without its coroutine."""

    def __await__(self) -> Generator[None, None, None]:
        yield
