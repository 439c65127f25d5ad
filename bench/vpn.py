"""IP packets through ``irosh vpn``, against raw TCP and ``ssh -w``: throughput, CPU time, round trip of one byte."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from bench.measuring import Effort, Skipped
from bench.nodes import PETNAME, client_state, irosh_host_with, pin, wait_event
from bench.openssh import openssh
from bench.places import Place, scratch, two_namespaces
from bench.programs import IROSH, Program
from bench.programs import run as run_program
from bench.results import SUBJECT, Aim, Measurement
from bench.ways import ECHO_PORT, IPERF_PORT, Way, compared, far_servers

TITLE = "TCP in IP packets through a VPN on a veth pair (MTU 1500), against raw TCP and ssh -w"
RAW, SSH = "raw TCP", "ssh -w"
_SSH_PORT = 2222
_BEHIND = "10.77.0.1"  # an address of the far place that only the VPN leads to
_SSH_NEAR, _SSH_FAR, _SSH_DEVICE = "10.78.0.1", "10.78.0.2", 7


def run(effort: Effort) -> list[Measurement]:
    """Measure all three ways in turn."""
    if shutil.which("nft") is None or not Path("/dev/net/tun").exists():
        raise Skipped("needs nft and /dev/net/tun")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        near, far = stack.enter_context(two_namespaces())
        stack.enter_context(far_servers(far))
        ways = {
            RAW: Way(far.address, IPERF_PORT, ECHO_PORT),
            SSH: _ssh(stack, near, far, directory),
            SUBJECT: _irosh(stack, near, far, directory),
        }
        return compared(near, ways, effort, up=Aim(1.0, SSH), down=Aim(1.0, SSH))


def _ssh(stack: contextlib.ExitStack, near: Place, far: Place, directory: Path) -> Way:
    server = stack.enter_context(openssh(far, _SSH_PORT, directory))
    device = f"tun{_SSH_DEVICE}"
    for place in (near, far):  # sshd would make its own only some time after ssh says that it is ready
        run_program(place.command("ip", "tuntap", "add", "dev", device, "mode", "tun"))
    client = stack.enter_context(server.background(near, "-w", f"{_SSH_DEVICE}:{_SSH_DEVICE}"))
    for place, own, other in ((near, _SSH_NEAR, _SSH_FAR), (far, _SSH_FAR, _SSH_NEAR)):
        run_program(place.command("ip", "addr", "add", own, "peer", other, "dev", device))
        run_program(place.command("ip", "link", "set", device, "up"))
    return Way(_SSH_FAR, IPERF_PORT, ECHO_PORT, [server.server.pid, client.pid])


def _irosh(stack: contextlib.ExitStack, near: Place, far: Place, directory: Path) -> Way:
    run_program(far.command("ip", "addr", "add", f"{_BEHIND}/32", "dev", "lo"))
    allowed = ("--allow", "exec", "--allow", f"vpn:{_BEHIND}")
    where = ("--bind", f"{far.address}:0", "--no-relay", "--no-stun")
    host = stack.enter_context(irosh_host_with(far, directory / "host", *where, *allowed))
    state = client_state(directory / "client")
    pin(near, state, host.ticket)
    command = (IROSH, "--state", str(state), "--json", "vpn", PETNAME, "--route", _BEHIND)
    vpn = stack.enter_context(Program(near.command(*command)))
    wait_event(vpn, "ready")
    return Way(_BEHIND, IPERF_PORT, ECHO_PORT, [host.program.pid, vpn.pid])
