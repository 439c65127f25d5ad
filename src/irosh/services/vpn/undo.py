"""Steps that undo what was changed on this machine. Used by the process itself and by its guard."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

Step = tuple[Literal["run", "write"], list[str]]
"""A program with its arguments, or a file and what to write to it."""

DEADLINE = 10.0


def run(command: Sequence[str], given: str = "") -> str | None:
    """Run a program; what it said if it failed, None if it did not."""
    try:
        done = subprocess.run(
            list(command), input=given, capture_output=True, text=True, timeout=DEADLINE, check=False, close_fds=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"status {done.returncode}"


def undo(steps: Sequence[Step]) -> None:
    """Do ``steps``, the last first. What is gone already, as the routes of an interface are, is no failure."""
    for kind, arguments in reversed(steps):
        if kind == "run":
            run(arguments)
        else:
            with contextlib.suppress(OSError):
                Path(arguments[0]).write_text(arguments[1])
