"""The byte path of the iroh wheel, as shipped and with :mod:`irosh.transport.fastpath`, on loopback in one process.

``python -m bench.wheel SECONDS COUNT [--as-shipped] [--uvloop]`` measures one variant and prints it as JSON; a variant
changes the wheel for the whole process, so each has its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bench.measuring import Contender, Effort, Figures, interleaved, percentile
from bench.places import python
from bench.programs import run as run_program
from bench.results import Measurement

if TYPE_CHECKING:
    from irosh.transport.interfaces import CarrierStream

TITLE = "the iroh wheel's byte path on loopback, with and without irosh.transport.fastpath"
_CHUNKS = {"1 MiB": 1 << 20, "64 KiB": 64 << 10, "16 KiB": 16 << 10, "2 KiB": 2 << 10}
_READ = 256 * 1024
_WARM_UP = 50
_FAST = "fast path"
_VARIANTS = {"as shipped": ["--as-shipped"], _FAST: [], "fast path + uvloop": ["--uvloop"]}


def run(effort: Effort) -> list[Measurement]:
    """Measure the variants in turn, each in a process of its own. uvloop only where it is installed."""
    seconds, count = effort.pick(("1.0", "2000"), ("0.05", "20"))
    variants = {
        name: _variant([seconds, count, *options])
        for name, options in _VARIANTS.items()
        if "--uvloop" not in options or find_spec("uvloop")
    }
    results = interleaved(variants, effort.repeats)
    return [
        *(Measurement(f"chunks of {chunk}", "MB/s", "more", results[chunk], subject=_FAST) for chunk in _CHUNKS),
        *(
            Measurement(f"echo of one byte, {figure}", "ms", "less", results[figure], subject=_FAST)
            for figure in ("median", "p99")
        ),
    ]


def _variant(arguments: Sequence[str]) -> Contender:
    def measure() -> Figures:
        figures: dict[str, float] = json.loads(run_program(python("bench.wheel", *arguments)))
        return figures

    return measure


def main(seconds: float, count: int, options: Sequence[str]) -> None:
    """Measure one variant."""
    if "--as-shipped" in options:
        from irosh.transport import fastpath

        def left_alone(ffi: Any, freeing: Any) -> tuple[str, ...]:
            return ()

        fastpath.install = left_alone
    factory = None
    if "--uvloop" in options:
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        print(json.dumps(runner.run(_measure(seconds, count))))


async def _measure(seconds: float, count: int) -> Figures:
    figures = {}
    for name, size in _CHUNKS.items():
        async with _stream_pair() as (ours, theirs):
            figures[name] = await _throughput(ours, theirs, size, seconds)
    async with _stream_pair() as (ours, theirs):
        times = await _echo_times(ours, theirs, count)
    return figures | {"median": statistics.median(times) * 1000, "p99": percentile(times, 0.99) * 1000}


@asynccontextmanager
async def _stream_pair() -> AsyncIterator[tuple[CarrierStream, CarrierStream]]:
    """The two ends of a stream between two endpoints. It begins with one byte, already read: QUIC needs it to open."""
    from irosh.transport.interfaces import Route
    from irosh.transport.wheel import EndpointSettings, bind_endpoint

    near, far = [
        await bind_endpoint(EndpointSettings(secret=os.urandom(32), bind=("127.0.0.1:0",), relays=())) for _ in range(2)
    ]
    try:
        route = far.route()
        dialled, accepted = await asyncio.gather(near.connect(Route(far.id, (), route.addresses)), far.accept())
        assert accepted is not None
        ours = await dialled.open_stream()
        await ours.write(b"x")
        theirs = await accepted.accept_stream()
        await theirs.read_exactly(1)
        yield ours, theirs
        dialled.close()
    finally:
        await asyncio.gather(near.close(), far.close())


async def _throughput(ours: CarrierStream, theirs: CarrierStream, size: int, seconds: float) -> float:
    """MB/s for writes of ``size`` bytes, for about ``seconds``."""
    chunk = os.urandom(size)

    async def send() -> None:
        while time.perf_counter() < end:
            await ours.write(chunk)
        await ours.finish()

    received = 0
    begin = time.perf_counter()
    end = begin + seconds
    sending = asyncio.create_task(send())
    try:
        while data := await theirs.read(_READ):
            received += len(data)
    finally:
        await sending
    return received / (time.perf_counter() - begin) / 1e6


async def _echo_times(ours: CarrierStream, theirs: CarrierStream, count: int) -> list[float]:
    """Seconds of ``count`` round trips of one byte."""

    async def echo() -> None:
        while data := await theirs.read():
            await theirs.write(data)

    echoing = asyncio.create_task(echo())
    times = []
    try:
        for _ in range(_WARM_UP + count):
            begin = time.perf_counter()
            await ours.write(b"x")
            await ours.read(1)
            times.append(time.perf_counter() - begin)
        await ours.finish()
        await echoing
    finally:
        echoing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await echoing
    return times[_WARM_UP:]


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
