"""Recovery after a cut: the client's cable is pulled out for some seconds; from plugging it in until bytes come again.

At the far end a program writes fifty times a second. All contenders run side by side, so that they have the same cut.
``irosh connect`` and mosh go on with the session there was. So does ssh with its defaults, as far as TCP can, whose
next try may be long in coming. autossh notices within three seconds that its ssh is dead, and starts ssh anew: a new
session, what ran in the old one is lost. (Eternal Terminal, ``et``, is not in Debian, so not here.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from bench.laboratory import internet, place
from bench.measuring import BenchError, Effort, progress
from bench.nodes import PETNAME, client_state, irosh_host, pin
from bench.openssh import OpenSSH, openssh
from bench.places import Place, scratch
from bench.programs import IROSH
from bench.programs import run as run_program
from bench.results import SUBJECT, Measurement
from bench.ticks import TICKING, UTF8, Client
from tests.lab.host import Host
from tests.lab.link import Link
from tests.lab.nat import NatKind

TITLE = "from plugging in the client's cable until bytes come again (autossh: of a new session)"
_PATIENCE = 60.0  # a figure of 60 s means: not within that
_CALM = 1.0  # seconds with bytes before the cable is pulled
_AUTOSSH_ENVIRONMENT = {"AUTOSSH_GATETIME": "0"}
_MOSH_PORT = 60001


def run(effort: Effort) -> list[Measurement]:
    """Each cut with programs started afresh. irosh gives up a connection after 30 s, and resumes on the next one."""
    cuts = effort.pick((5.0, 40.0), (1.0,))
    results: dict[float, dict[str, list[float]]] = {cut: {} for cut in cuts}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        net = stack.enter_context(internet())
        far_home, near_home = net.home("far"), net.home("near", NatKind.PORT_RESTRICTED)
        for home in (far_home, near_home):
            stack.callback(_end_all, home.host)
        near, far = place(near_home.host), place(far_home.host)
        server = stack.enter_context(openssh(far, 2222, directory))
        host = stack.enter_context(irosh_host(far, directory / "host"))
        state = client_state(directory / "client")
        pin(near, state, host.ticket)
        for number in range(1, effort.repeats + 1):
            for cut in cuts:
                progress(f"round {number} of {effort.repeats}: {cut:g} s without a cable")
                with _clients(near, far, server, state) as clients:
                    for name, gap in _cut(near_home.link, cut, clients).items():
                        results[cut].setdefault(name, []).append(gap)
    return [Measurement(f"after {cut:g} s", "s", "less", values) for cut, values in results.items()]


@contextmanager
def _clients(near: Place, far: Place, server: OpenSSH, state: Path) -> Iterator[dict[str, Client]]:
    """All contenders, each showing what the remote program writes."""
    ssh = server.command("-T")
    commands = {"ssh": near.command(*ssh, TICKING)}
    if autossh := which("autossh"):
        alive = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=3")
        commands["autossh"] = near.command(autossh, "-M", "0", *alive, *ssh[1:], TICKING)
    with contextlib.ExitStack() as stack:
        clients = {
            name: stack.enter_context(Client(command, _AUTOSSH_ENVIRONMENT, terminal=False))
            for name, command in commands.items()
        }
        if (mosh := which("mosh-client")) and which("mosh-server"):
            key = stack.enter_context(_mosh_server(far))
            command = near.command(mosh, far.address, str(_MOSH_PORT))
            clients["mosh"] = stack.enter_context(Client(command, {"MOSH_KEY": key}, terminal=True))
        irosh = near.command(IROSH, "--state", str(state), "connect", PETNAME, TICKING)
        clients[SUBJECT] = stack.enter_context(Client(irosh, terminal=False))
        yield clients


@contextmanager
def _mosh_server(far: Place) -> Iterator[str]:
    """A mosh server that runs the remote program; gives the key for the client."""
    locale = [f"{name}={value}" for name, value in UTF8.items()]
    command = ["mosh-server", "new", "-i", far.address, "-p", str(_MOSH_PORT), "--", "sh", "-c", f"exec {TICKING}"]
    said = run_program(far.command("sh", "-c", 'exec "$@" 2>&1', "sh", "env", *locale, *command))
    pid = int(said.partition("detached, pid = ")[2].partition("]")[0])
    try:
        yield said.partition(f"MOSH CONNECT {_MOSH_PORT} ")[2].split()[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _cut(link: Link, seconds: float, clients: dict[str, Client]) -> dict[str, float]:
    """Pull the cable out for so long; seconds from plugging it in to each client's next byte."""
    for client in clients.values():
        client.wait_ready()
    time.sleep(_CALM)
    link.down()
    time.sleep(seconds)
    for client in clients.values():
        client.watch()
    link.up()
    gaps = {name: client.first(_PATIENCE) for name, client in clients.items()}
    if clients[SUBJECT].broken:
        raise BenchError("irosh has lost or doubled a byte")
    return gaps


def _end_all(host: Host) -> None:
    """End what still runs on a host: sessions of a server that has ended may not have noticed."""
    for pid in run_program(["ip", "netns", "pids", host.namespace]).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
