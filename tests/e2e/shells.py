"""An interactive shell of ``irosh connect``, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.pair import PEER, Pair
from tests.lab.terminal import Terminal

PROMPT = "prompt> "


@contextmanager
def shell(pair: Pair, directory: Path, *options: str, columns: int = 90, rows: int = 30) -> Iterator[Terminal]:
    """A shell on the host, in a terminal of the client."""
    command = (*pair.client.command, "connect", *options, PEER)
    with Terminal.open(pair.client.machine, directory, *command, columns=columns, rows=rows) as terminal:
        ready(terminal)
        yield terminal


def ready(terminal: Terminal) -> None:
    """Wait for the remote shell, and make it predictable."""
    terminal.type(f"PS1='{PROMPT}'; stty echo; echo ready $((40 + 2))")
    terminal.wait_for(f"ready 42\n{PROMPT.rstrip()}")
