"""TCP through ``irosh tunnel open``, against raw TCP and ``ssh -L``: throughput, CPU time, round trip of one byte."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bench.measuring import Effort
from bench.nodes import client_state, irosh_host, irosh_tunnel
from bench.openssh import openssh
from bench.places import Place, scratch, two_namespaces
from bench.results import SUBJECT, Aim, Measurement
from bench.ways import ECHO_PORT, IPERF_PORT, Way, compared, far_servers

TITLE = "TCP through a tunnel on a veth pair (MTU 1500), against raw TCP and ssh -L"
RAW, SSH = "raw TCP", "ssh -L"
_SSH_PORT = 2222
_SSH_FORWARDS = {IPERF_PORT: 15201, ECHO_PORT: 17007}
_IROSH_FORWARDS = {IPERF_PORT: 25201, ECHO_PORT: 27007}


def run(effort: Effort) -> list[Measurement]:
    """Measure all three ways in turn."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        near, far = stack.enter_context(two_namespaces())
        stack.enter_context(far_servers(far))
        ways = {
            RAW: Way(far.address, IPERF_PORT, ECHO_PORT),
            SSH: _ssh_forward(stack, near, far, directory),
            SUBJECT: _irosh_tunnel(stack, near, far, directory),
        }
        return compared(near, ways, effort, up=Aim(0.5, SSH), down=Aim(0.5, SSH), median=Aim(1.0))


def _ssh_forward(stack: contextlib.ExitStack, near: Place, far: Place, directory: Path) -> Way:
    server = stack.enter_context(openssh(far, _SSH_PORT, directory))
    forwards = [word for there, here in _SSH_FORWARDS.items() for word in ("-L", f"127.0.0.1:{here}:127.0.0.1:{there}")]
    client = stack.enter_context(server.background(near, *forwards))
    pids = [server.server.pid, client.pid]
    return Way("127.0.0.1", _SSH_FORWARDS[IPERF_PORT], _SSH_FORWARDS[ECHO_PORT], pids)


def _irosh_tunnel(stack: contextlib.ExitStack, near: Place, far: Place, directory: Path) -> Way:
    host = stack.enter_context(irosh_host(far, directory / "host"))
    state = client_state(directory / "client")
    tunnel = stack.enter_context(irosh_tunnel(near, state, host.ticket, _IROSH_FORWARDS))
    pids = [host.program.pid, tunnel.pid]
    return Way("127.0.0.1", _IROSH_FORWARDS[IPERF_PORT], _IROSH_FORWARDS[ECHO_PORT], pids)
