"""Garbage that holds objects of the engine may be collected at any moment, also inside a callback of the engine."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import Any

from iroh import iroh_ffi

from irosh.transport import wheel_freeing
from tests.support.nodes import connected_pair

MiB = 1024 * 1024
PATIENCE = 60.0
ROUNDS = 150


def test_a_transfer_goes_on_whenever_garbage_is_collected() -> None:
    # In a process of its own: one that waits for itself in the engine can only be killed.
    subprocess.run([sys.executable, "-m", "tests.transport.test_wheel_freeing"], check=True, timeout=PATIENCE)


async def transfer_amid_garbage() -> None:
    async with connected_pair() as (near, far):

        async def echo() -> None:
            while True:
                stream = await far.accept_stream()
                while data := await stream.read(MiB):
                    await stream.write(data)
                await stream.finish()

        echoing = asyncio.ensure_future(echo())
        data = os.urandom(200_000)
        for _ in range(ROUNDS):
            stream = await near.open_stream()
            ring: list[object] = [stream]
            ring.append(ring)  # only a collection finds it once it is left
            await asyncio.gather(stream.write(data), stream.read_exactly(len(data)))
            await stream.finish()
            del stream, ring
        echoing.cancel()


def test_every_object_with_a_handle_is_freed_by_the_thread() -> None:
    freed = {
        name
        for name, kind in vars(iroh_ffi).items()
        if isinstance(kind, type) and "__del__" in vars(kind) and hasattr(kind, "_uniffi_clone_handle")
    }
    assert {"Connection", "Endpoint", "RecvStream", "SendStream"} <= freed
    assert all("hand_over" in getattr(iroh_ffi, name).__del__.__qualname__ for name in freed)


def test_what_is_freed_is_gone_for_the_engine() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            stream = await near.open_stream()
            await stream.write(b"the last words")
            remote = await far.accept_stream()
            assert await remote.read_exactly(14) == b"the last words"
            del stream
            gc.collect()
            # The engine ends a stream of which nobody holds the sending half any more.
            async with asyncio.timeout(PATIENCE):
                assert await remote.read() == b""

    asyncio.run(body())


def test_a_wheel_of_another_make_is_left_alone() -> None:
    class Other:
        def __del__(self) -> None:
            pass

    before = Other.__del__
    _, names = wheel_freeing.install(SimpleNamespace(Other=Other, _uniffi_rust_call=None, _UniffiLib=None))
    assert names == ()
    assert Other.__del__ is before


class CollectingLoop(asyncio.SelectorEventLoop):
    """Collects garbage whenever another thread calls, and only then."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        super().__init__()

    def call_soon_threadsafe(  # type: ignore[override]  # its stub names the arguments' types one by one
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread:
            gc.collect()
        return super().call_soon_threadsafe(callback, *args, context=context)


if __name__ == "__main__":
    gc.disable()
    gc.freeze()  # what is there already is not looked at each time
    with asyncio.Runner(loop_factory=CollectingLoop) as runner:
        runner.run(transfer_amid_garbage())
