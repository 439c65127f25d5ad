"""TCP through ``irosh tunnel open``, against raw TCP and ``ssh -L``: throughput, CPU time, round trip of one byte."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.iperf import iperf_server, throughput
from bench.measuring import Contender, Effort, Figures, interleaved
from bench.nodes import client_state, irosh_host, irosh_tunnel
from bench.openssh import openssh
from bench.places import Place, two_namespaces
from bench.results import SUBJECT, Aim, Measurement
from bench.round_trip import echo_server, round_trips
from bench.usage import cpu_seconds

TITLE = "TCP through a tunnel on a veth pair (MTU 1500), against raw TCP and ssh -L"
_SSH_PORT, _IPERF_PORT, _ECHO_PORT = 2222, 5201, 7007
_SSH_FORWARDS = {_IPERF_PORT: 15201, _ECHO_PORT: 17007}
_IROSH_FORWARDS = {_IPERF_PORT: 25201, _ECHO_PORT: 27007}
RAW, SSH = "raw TCP", "ssh -L"


@dataclass(frozen=True)
class Way:
    """One way from the near to the far place: where iperf3 and the echo appear, and whose CPU time it costs."""

    host: str
    iperf_port: int
    echo_port: int
    pids: Sequence[int] = ()


def run(effort: Effort) -> list[Measurement]:
    """Measure all three ways in turn."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="irosh-bench-")))
        near, far = stack.enter_context(two_namespaces())
        stack.enter_context(iperf_server(far, _IPERF_PORT))
        stack.enter_context(echo_server(far, "0.0.0.0", _ECHO_PORT))
        ways = {
            RAW: Way(far.address, _IPERF_PORT, _ECHO_PORT),
            SSH: _ssh_forward(stack, near, far, directory),
            SUBJECT: _irosh_tunnel(stack, near, far, directory),
        }
        results = interleaved({name: _contender(near, way, effort) for name, way in ways.items()}, effort.repeats)
    return [
        Measurement("throughput up", "MB/s", "more", results["up"], aim=Aim(0.5, SSH)),
        Measurement("throughput down", "MB/s", "more", results["down"], aim=Aim(0.5, SSH)),
        Measurement("CPU up, both ends", "s/GB", "less", results["cpu up"]),
        Measurement("CPU down, both ends", "s/GB", "less", results["cpu down"]),
        Measurement("round trip of one byte, median", "ms", "less", results["median"], aim=Aim(1.0)),
        Measurement("round trip of one byte, p99", "ms", "less", results["p99"]),
    ]


def _ssh_forward(stack: contextlib.ExitStack, near: Place, far: Place, directory: Path) -> Way:
    server = stack.enter_context(openssh(far, _SSH_PORT, directory))
    forwards = [word for there, here in _SSH_FORWARDS.items() for word in ("-L", f"127.0.0.1:{here}:127.0.0.1:{there}")]
    client = stack.enter_context(server.background(near, *forwards))
    return Way("127.0.0.1", _SSH_FORWARDS[_IPERF_PORT], _SSH_FORWARDS[_ECHO_PORT], [server.server.pid, client.pid])


def _irosh_tunnel(stack: contextlib.ExitStack, near: Place, far: Place, directory: Path) -> Way:
    host = stack.enter_context(irosh_host(far, directory / "host"))
    state = client_state(directory / "client")
    tunnel = stack.enter_context(irosh_tunnel(near, state, host.ticket, _IROSH_FORWARDS))
    pids = [host.program.pid, tunnel.program.pid]
    return Way("127.0.0.1", _IROSH_FORWARDS[_IPERF_PORT], _IROSH_FORWARDS[_ECHO_PORT], pids)


def _contender(near: Place, way: Way, effort: Effort) -> Contender:
    seconds = effort.pick(4.0, 0.3)
    count = effort.pick(2000, 20)

    def measure() -> Figures:
        figures: dict[str, float] = {}
        for name, reverse in (("up", False), ("down", True)):
            before = cpu_seconds(way.pids)
            figures[name] = throughput(near, way.host, way.iperf_port, seconds, reverse=reverse)
            if way.pids:
                gigabytes = figures[name] * seconds / 1000
                figures[f"cpu {name}"] = (cpu_seconds(way.pids) - before) / gigabytes
        trips = round_trips(near, way.host, way.echo_port, count)
        return figures | {name: seconds * 1000 for name, seconds in trips.items()}

    return measure
