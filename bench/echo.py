"""Keystroke echo: from a key typed on a terminal until its echo is there, through ``irosh connect`` and ``ssh``.

``python -m bench.echo COUNT COMMAND…`` runs COMMAND on a pseudo-terminal, waits until it has printed ``ready``, types
COUNT keys one after another, and prints ``{"median": …, "p99": …}`` in seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import statistics
import sys
import time
from collections.abc import Sequence

from bench.measuring import BenchError, Contender, Effort, Figures, interleaved, percentile
from bench.nodes import PETNAME, client_state, irosh_host, pin
from bench.openssh import openssh
from bench.places import Place, python, scratch, two_namespaces
from bench.programs import IROSH
from bench.programs import run as run_program
from bench.results import SUBJECT, Measurement

TITLE = "from a key to its echo on a terminal, two network namespaces joined by a veth pair"
SSH = "ssh"
_PORT = 2222
# The terminal on the other side echoes; a program reads, so that nothing piles up.
_REMOTE = "stty -icanon; echo ready; exec cat > /dev/null"
_PAUSE = 0.01  # seconds between an echo and the next key, as when a quick hand types
_WARM_UP = 50
_TIMEOUT = 30.0


def run(effort: Effort) -> list[Measurement]:
    """Both in turn, each time with a session of its own."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        near, far = stack.enter_context(two_namespaces())
        server = stack.enter_context(openssh(far, _PORT, directory))
        host = stack.enter_context(irosh_host(far, directory / "host"))
        state = client_state(directory / "client")
        pin(near, state, host.ticket)
        commands = {
            SSH: [*server.command("-tt"), _REMOTE],
            SUBJECT: [IROSH, "--state", str(state), "connect", "-t", PETNAME, _REMOTE],
        }
        count = effort.pick(1000, 20)
        contenders = {name: _contender(near, command, count) for name, command in commands.items()}
        results = interleaved(contenders, effort.repeats)
    return [
        Measurement("key to echo, median", "ms", "less", results["median"]),
        Measurement("key to echo, p99", "ms", "less", results["p99"]),
    ]


def _contender(place: Place, command: Sequence[str], count: int) -> Contender:
    def measured() -> Figures:
        figures: dict[str, float] = json.loads(run_program(place.command(*python("bench.echo", str(count), *command))))
        return {name: value * 1000 for name, value in figures.items()}

    return measured


def measure(count: int, command: Sequence[str]) -> Figures:
    """Type and wait; ``median`` and ``p99`` in seconds."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "dumb"
        os.execvp(command[0], list(command))
    try:
        said = b""
        while b"ready" not in said:
            said += _read(terminal, said)
        times = []
        for _ in range(_WARM_UP + count):
            time.sleep(_PAUSE)
            begin = time.perf_counter()
            os.write(terminal, b"k")
            while b"k" not in _read(terminal, said):
                pass
            times.append(time.perf_counter() - begin)
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    del times[:_WARM_UP]
    return {"median": statistics.median(times), "p99": percentile(times, 0.99)}


def _read(terminal: int, said: bytes) -> bytes:
    readable, _, _ = select.select([terminal], [], [], _TIMEOUT)
    with contextlib.suppress(OSError):  # EIO: the command has ended
        if readable and (data := os.read(terminal, 4096)):
            return data
    raise BenchError(f"no echo; it said {said[-500:]!r}")


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), sys.argv[2:])))
