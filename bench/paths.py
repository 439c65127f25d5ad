"""Two networks at once: the sum of their throughput, and keystrokes while one of them is unplugged."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.iperf import throughput
from bench.keystrokes import gap, typing
from bench.measuring import BenchError, Contender, Effort, Figures, Skipped, interleaved
from bench.nodes import Host, client_state, irosh_host, irosh_tunnel
from bench.places import Place, free_port, scratch
from bench.programs import IROSH
from bench.programs import run as run_program
from bench.results import SUBJECT, Aim, Measurement
from bench.ways import ECHO_PORT, IPERF_PORT, far_servers
from tests.lab.host import Host as LabHost
from tests.lab.link import Link
from tests.lab.network import Network

TITLE = "Two networks of 100 Mbit/s, round trips of 20 and 60 ms: --paths all against each alone; redundant, one dying"
RATE = "100mbit"
FAST, SLOW = 10.0, 30.0  # ms one way
FAST_ALONE, SLOW_ALONE, FASTEST = "20 ms alone", "60 ms alone", "--paths fastest"
_JOIN_DEADLINE = 30.0


def run(effort: Effort) -> list[Measurement]:
    """Throughput of all three in turn, then keystrokes."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Skipped("needs Linux and root, for network namespaces")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        network = stack.enter_context(Network())
        far, near, slow, router = network.host("far"), network.host("near"), network.host("slow"), network.router("r")
        network.link(far, router, "10.1.0.0/24")
        first, second = network.link(near, router, "10.2.0.0/24"), network.link(near, router, "10.3.0.0/24")
        third = network.link(slow, router, "10.4.0.0/24")
        for link, delay in ((first, FAST), (second, SLOW), (third, SLOW)):
            link.shape(delay=delay, rate=RATE)
        stack.enter_context(far_servers(_place(far)))
        host = stack.enter_context(irosh_host(_place(far), directory / "host"))
        client = Client(directory, host)
        bulk = interleaved(
            {
                SUBJECT: client.throughput(near, "all", 2, effort),
                FAST_ALONE: client.throughput(near, "fastest", 1, effort),
                SLOW_ALONE: client.throughput(slow, "fastest", 1, effort),
            },
            effort.repeats,
        )
        keys = interleaved(
            {
                SUBJECT: client.keystrokes(near, first, "redundant", 2, effort),
                FASTEST: client.keystrokes(near, first, "fastest", 1, effort),
            },
            effort.repeats,
        )
    return [
        Measurement("throughput up", "MB/s", "more", bulk["up"], aim=Aim(1.7, FAST_ALONE)),
        Measurement("throughput down", "MB/s", "more", bulk["down"], aim=Aim(1.7, FAST_ALONE)),
        Measurement("keystrokes: gap when the faster is unplugged", "ms", "less", keys["gap"], aim=Aim(50)),
    ]


class Client:
    """Tunnels to one host, each of a node of its own."""

    def __init__(self, directory: Path, host: Host) -> None:
        self._directory = directory
        self._host = host
        self._states = 0

    def throughput(self, machine: LabHost, paths: str, carriers: int, effort: Effort) -> Contender:
        """``up`` and ``down`` in MB/s."""
        seconds = effort.pick(10, 1)

        def measure() -> Figures:
            with self._tunnel(machine, paths, carriers) as ports:
                return {
                    name: throughput(_place(machine), "127.0.0.1", ports[IPERF_PORT], seconds, reverse=reverse)
                    for name, reverse in (("up", False), ("down", True))
                }

        return measure

    def keystrokes(self, machine: LabHost, link: Link, paths: str, carriers: int, effort: Effort) -> Contender:
        """``gap`` in ms, ``link`` being unplugged meanwhile."""
        seconds = effort.pick(6.0, 3.0)

        def measure() -> Figures:
            with self._tunnel(machine, paths, carriers) as ports:
                place = _place(machine)
                with typing(place, "127.0.0.1", ports[ECHO_PORT], seconds) as program:
                    link.down()
                    try:
                        return {"gap": gap(program, seconds) * 1000}
                    finally:
                        link.up()

        return measure

    @contextmanager
    def _tunnel(self, machine: LabHost, paths: str, carriers: int) -> Iterator[dict[int, int]]:
        """Far port → near port, once the session has so many carriers."""
        self._states += 1
        state = client_state(self._directory / str(self._states))
        with (state / "config.toml").open("a") as config:
            config.write(f'[session]\npaths = "{paths}"\n')
        ports = {IPERF_PORT: free_port(), ECHO_PORT: free_port()}
        place = _place(machine)
        with irosh_tunnel(place, state, self._host.ticket, ports):
            deadline = time.monotonic() + _JOIN_DEADLINE
            while _carriers(place, state) != carriers:
                if time.monotonic() > deadline:
                    raise BenchError(f"{paths}: no {carriers} paths within {_JOIN_DEADLINE:g} s")
                time.sleep(0.1)
            yield ports


def _carriers(place: Place, state: Path) -> int:
    status = json.loads(run_program(place.command(IROSH, "--state", str(state), "--json", "status")))
    return len(status["connections"][0]["carriers"])


def _place(machine: LabHost) -> Place:
    return Place(machine.address, machine.prefix)
