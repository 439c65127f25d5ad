"""``irosh connect -L`` and ``-D`` against ``ssh -L`` and ``-D``: throughput, CPU time, and new connections."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.flow import flow_server, flows
from bench.measuring import Contender, Effort, Figures, interleaved
from bench.nodes import client_state, irosh_forwards, irosh_host
from bench.openssh import openssh
from bench.places import Place, scratch, two_namespaces
from bench.results import SUBJECT, Aim, Measurement
from bench.usage import cpu_seconds

TITLE = "forwards on a veth pair (MTU 1500), against those of ssh"
_PORT, _SSH_PORT = 7070, 2222
_SSH_LOCAL, _SSH_SOCKS = 17070, 11080
_IROSH_LOCAL, _IROSH_SOCKS = 27070, 21080


@dataclass(frozen=True)
class Forwarder:
    """A program with a local forward to the server, a SOCKS server, and whose CPU time they cost."""

    local: int
    socks: int
    pids: Sequence[int]


def run(effort: Effort) -> list[Measurement]:
    """Measure ``-L``, then ``-D``, both programs in turn."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        near, far = stack.enter_context(two_namespaces())
        stack.enter_context(flow_server(far, _PORT))
        ssh = _ssh(stack, near, far, directory)
        irosh = _irosh(stack, near, far, directory)
        measurements = []
        for flag in ("-L", "-D"):
            name = f"ssh {flag}"
            contenders = {name: _contender(near, ssh, flag, effort), SUBJECT: _contender(near, irosh, flag, effort)}
            results = interleaved(contenders, effort.repeats)
            measurements += [
                Measurement(f"{flag}: throughput up", "MB/s", "more", results["up"], aim=Aim(0.5, name)),
                Measurement(f"{flag}: throughput down", "MB/s", "more", results["down"], aim=Aim(0.5, name)),
                Measurement(f"{flag}: first byte of a new connection", "ms", "less", results["connection"]),
                Measurement(f"{flag}: CPU, both ends", "s/GB", "less", results["cpu"]),
            ]
    return measurements


def _contender(near: Place, forwarder: Forwarder, flag: str, effort: Effort) -> Contender:
    seconds = effort.pick(4, 1)

    def measure() -> Figures:
        before = cpu_seconds(forwarder.pids)
        if flag == "-L":
            figures = flows(near, "127.0.0.1", forwarder.local, seconds)
        else:
            figures = flows(near, "127.0.0.1", _PORT, seconds, forwarder.socks)
        gigabytes = (figures["up"] + figures["down"]) * seconds / 1000
        used = cpu_seconds(forwarder.pids) - before
        return {**figures, "connection": figures["connection"] * 1000, "cpu": used / gigabytes}

    return measure


def _ssh(stack: contextlib.ExitStack, near: Place, far: Place, directory: Path) -> Forwarder:
    server = stack.enter_context(openssh(far, _SSH_PORT, directory))
    local = f"127.0.0.1:{_SSH_LOCAL}:127.0.0.1:{_PORT}"
    client = stack.enter_context(server.background(near, "-L", local, "-D", f"127.0.0.1:{_SSH_SOCKS}"))
    return Forwarder(_SSH_LOCAL, _SSH_SOCKS, [server.server.pid, client.pid])


def _irosh(stack: contextlib.ExitStack, near: Place, far: Place, directory: Path) -> Forwarder:
    host = stack.enter_context(irosh_host(far, directory / "host"))
    state = client_state(directory / "client")
    local = f"127.0.0.1:{_IROSH_LOCAL}:127.0.0.1:{_PORT}"
    forwards = ("-L", local, "-D", f"127.0.0.1:{_IROSH_SOCKS}")
    client = stack.enter_context(irosh_forwards(near, state, host.ticket, *forwards))
    return Forwarder(_IROSH_LOCAL, _IROSH_SOCKS, [host.program.pid, client.pid])
