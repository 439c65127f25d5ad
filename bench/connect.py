"""Time to the first byte of a remote command's output: ``irosh connect`` against ``ssh``, each cold and attached."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measuring import BenchError, Contender, Effort, Figures, interleaved
from bench.nodes import PETNAME, client_state, irosh_host, pin
from bench.openssh import openssh
from bench.places import HERE, free_port, scratch
from bench.programs import IROSH, RUN_DEADLINE
from bench.results import Aim, Measurement

TITLE = "from starting the command to its first byte of output and to its end"
_COLD, _ATTACHED = "cold", "attached"
_COMMAND = "echo x"


def run(effort: Effort) -> list[Measurement]:
    """Cold: nothing runs on the client's side. Attached: an irosh node does, or an ssh ControlMaster."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        server = stack.enter_context(openssh(HERE, free_port(), directory))
        host = stack.enter_context(irosh_host(HERE, directory / "host"))
        cold, attached = client_state(directory / "cold"), client_state(directory / "attached")
        for state in (cold, attached):
            pin(HERE, state, host.ticket)
        stack.enter_context(irosh_host(HERE, attached))  # a node that runs in the client's state directory
        master = str(directory / "master")
        stack.enter_context(server.background(HERE, "-M", "-S", master))
        commands = {
            f"ssh {_COLD}": [*server.command(), _COMMAND],
            f"irosh {_COLD}": _irosh(cold),
            f"ssh {_ATTACHED}": [*server.command("-S", master), _COMMAND],
            f"irosh {_ATTACHED}": _irosh(attached),
        }
        for command in commands.values():  # the page cache, and the attached node's connection
            timed(command)
        per_round = effort.pick(5, 1)
        contenders = {name: _contender(command) for name, command in commands.items()}
        results = interleaved(contenders, effort.repeats * per_round)
    measurements = []
    for how, aim in ((_COLD, None), (_ATTACHED, Aim(150.0))):
        for figure in ("first byte", "end"):
            values = {who: results[figure][f"{who} {how}"] for who in ("ssh", "irosh")}
            limit = aim if figure == "first byte" else None
            measurements.append(Measurement(f"{how}: {figure}", "ms", "less", values, aim=limit))
    return measurements


def _irosh(state: Path) -> list[str]:
    return [IROSH, "--state", str(state), "connect", PETNAME, _COMMAND]


def _contender(command: Sequence[str]) -> Contender:
    return lambda: timed(command)


def timed(command: Sequence[str]) -> Figures:
    """Milliseconds from starting a command to the ``first byte`` of its output and to its ``end``."""
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process:
            assert process.stdout is not None
            first = process.stdout.read(1)
            seen = time.perf_counter()
            status = process.wait(RUN_DEADLINE)
            end = time.perf_counter()
        if not first or status:
            errors.seek(0)
            said = errors.read()[-2000:].decode(errors="replace")
            raise BenchError(f"`{' '.join(command)[:200]}` failed ({status}):\n{said}")
    return {"first byte": (seen - begin) * 1000, "end": (end - begin) * 1000}
