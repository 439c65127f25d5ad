"""One way of TCP from a near to a far place, and how throughput, CPU time and round trips on it are measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from bench.iperf import iperf_server, throughput
from bench.measuring import Contender, Effort, Figures, interleaved
from bench.places import Place
from bench.results import SUBJECT, Aim, Measurement
from bench.round_trip import echo_server, round_trips
from bench.usage import cpu_seconds

IPERF_PORT, ECHO_PORT = 5201, 7007


@dataclass(frozen=True)
class Way:
    """Where the far place's iperf3 and echo server appear to the near one, and whose CPU time the way costs."""

    host: str
    iperf_port: int
    echo_port: int
    pids: Sequence[int] = ()


@contextmanager
def far_servers(far: Place) -> Iterator[None]:
    """iperf3 at ``IPERF_PORT`` and an echo server at ``ECHO_PORT`` in the far place."""
    with iperf_server(far, IPERF_PORT), echo_server(far, "0.0.0.0", ECHO_PORT):
        yield


def traffic(near: Place, way: Way, effort: Effort) -> Contender:
    """Measures ``up`` and ``down`` (MB/s), ``cpu up`` and ``cpu down`` (s/GB), and round trips of one byte: ``median``
    and ``p99`` (ms) and ``cpu trip`` (µs).
    """
    seconds = effort.pick(4, 1)
    count = effort.pick(2000, 20)

    def measure() -> Figures:
        figures: dict[str, float] = {}
        for name, reverse in (("up", False), ("down", True)):
            before = cpu_seconds(way.pids)
            figures[name] = throughput(near, way.host, way.iperf_port, seconds, reverse=reverse)
            if way.pids:
                gigabytes = figures[name] * seconds / 1000
                figures[f"cpu {name}"] = (cpu_seconds(way.pids) - before) / gigabytes
        before = cpu_seconds(way.pids)
        trips = round_trips(near, way.host, way.echo_port, count)
        if way.pids:
            figures["cpu trip"] = (cpu_seconds(way.pids) - before) / count * 1e6
        return figures | {name: seconds * 1000 for name, seconds in trips.items()}

    return measure


def compared(near: Place, ways: Mapping[str, Way], effort: Effort, **aims: Aim) -> list[Measurement]:
    """All ways measured in turn; ``aims`` by the names of the figures, as in :func:`traffic`."""
    results = interleaved({name: traffic(near, way, effort) for name, way in ways.items()}, effort.repeats)
    return shown(results, "both ends", aims=aims)


def shown(
    results: Mapping[str, Mapping[str, Sequence[float]]],
    whose: str,
    *,
    subject: str = SUBJECT,
    aims: Mapping[str, Aim] | None = None,
) -> list[Measurement]:
    """What came of :func:`traffic`. ``whose``: that of which the CPU time counts."""
    figures: Sequence[tuple[str, str, str, Literal["more", "less"]]] = (
        ("up", "throughput up", "MB/s", "more"),
        ("down", "throughput down", "MB/s", "more"),
        ("median", "round trip of one byte, median", "ms", "less"),
        ("p99", "round trip of one byte, p99", "ms", "less"),
        ("cpu up", f"CPU up, {whose}", "s/GB", "less"),
        ("cpu down", f"CPU down, {whose}", "s/GB", "less"),
        ("cpu trip", f"CPU of a round trip, {whose}", "µs", "less"),
    )
    return [
        Measurement(title, unit, better, results[name], subject=subject, aim=(aims or {}).get(name))
        for name, title, unit, better in figures
    ]
