"""Ctrl-C over a slow link: a program floods the terminal; from the key until the shell goes on.

What is on its way when the key is pressed comes first. All contenders have the same link, one after the other.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from functools import partial

from bench.laboratory import internet, place
from bench.measuring import Effort, Figures, interleaved
from bench.nodes import PETNAME, client_state, irosh_host, pin
from bench.openssh import openssh
from bench.places import scratch
from bench.programs import IROSH
from bench.results import SUBJECT, Measurement
from tests.lab.captured import CapturedTerminal
from tests.lab.processes import wait_until

TITLE = "Ctrl-C in a flood of output, over a slow link"
_DELAY = 20.0  # ms, one way
_FLOOD = "cat /dev/zero | tr '\\0' x"
_DEADLINE = 60.0  # seconds
_RATES = {"2 Mbit/s": ("2mbit", 250_000), "10 Mbit/s": ("10mbit", 1_250_000)}  # and bytes a second
_KEPT = "irosh --session"


def run(effort: Effort) -> list[Measurement]:
    """A session of its own each time. The key is pressed when four seconds' worth of the link has come."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(scratch())
        net = stack.enter_context(internet(needs={"tc": "iproute2"}))
        far_home, near_home = net.home("far"), net.home("near")
        near, far = place(near_home.host), place(far_home.host)
        server = stack.enter_context(openssh(far, 2222, directory))
        host = stack.enter_context(irosh_host(far, directory / "host"))
        state = client_state(directory / "client")
        pin(near, state, host.ticket)
        irosh = near.command(IROSH, "--state", str(state), "connect")
        numbers = itertools.count()
        measurements = []
        for label in effort.pick(("2 Mbit/s", "10 Mbit/s"), ("10 Mbit/s",)):
            rate, bytes_a_second = _RATES[label]
            near_home.link.shape(delay=_DELAY, rate=rate)
            seen = effort.pick(4 * bytes_a_second, 300_000)
            commands: dict[str, Callable[[], Sequence[str]]] = {
                "ssh": lambda: near.command(*server.command("-tt")),
                SUBJECT: lambda: [*irosh, PETNAME],
                _KEPT: lambda: [*irosh, f"--session=kept-{next(numbers)}", PETNAME],
            }
            contenders = {name: partial(_interrupted, command, seen) for name, command in commands.items()}
            results = interleaved(contenders, effort.repeats)
            measurements += [
                Measurement(f"{label}: until the shell goes on", "ms", "less", results["seconds"]),
                Measurement(f"{label}: what still comes", "kB", "less", results["bytes"]),
            ]
        return measurements


def _interrupted(command: Callable[[], Sequence[str]], seen: int) -> Figures:
    """Flood the terminal until ``seen`` bytes have come, and interrupt that."""
    with CapturedTerminal(command()) as terminal:
        terminal.type(f"PS1=; echo ready $((40 + 2)); {_FLOOD}")
        wait_until(lambda: len(terminal.output()) > seen, timeout=_DEADLINE, what="much has come")
        before, begin = len(terminal.output()), time.perf_counter()
        terminal.press(b"\x03")
        terminal.type("echo back $((40 + 2))")
        wait_until(
            lambda: b"back 42" in terminal.output()[before:], timeout=_DEADLINE, every=0.005, what="the shell goes on"
        )
        seconds, after = time.perf_counter() - begin, len(terminal.output()) - before
        terminal.type("exit")
        terminal.wait_exit()
    return {"seconds": seconds * 1000, "bytes": after / 1000}
