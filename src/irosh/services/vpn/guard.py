"""Our side of the guard: tells it what to undo before anything is changed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Sequence

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.undo import Step, undo

ENDING = 60.0  # seconds for the guard to undo everything


class Guard:
    """A running guard process. All methods block for a moment; any thread may call them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, list[Step]] = {}
        # In a session of its own: what ends the terminal's programs does not end it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "irosh.services.vpn.guard_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd="/",
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def add(self, use: str, steps: Sequence[Step]) -> None:
        """Have ``steps`` undone when ``use`` ends, or this process. ``IroshError`` (internal) without a guard."""
        self._ask({"id": use, "undo": list(steps)})
        self._kept.setdefault(use, []).extend(steps)

    def run(self, *command: str) -> None:
        """Run a program where the guard is: in the mount namespace that this process was started in."""
        failure = self._ask({"run": list(command)})
        if failure is not None:
            raise IroshError(ErrorCode.VPN_UNAVAILABLE, f"{command[0]}: {failure}"[:300])

    def undo(self, use: str) -> None:
        """``use`` has ended. Never raises."""
        steps = self._kept.pop(use, [])
        try:
            self._ask({"id": use})
        except IroshError:
            undo(steps)  # the guard was killed

    def close(self) -> None:
        """Undo all that is left, and end the guard. Never raises."""
        for use in list(self._kept):
            self.undo(use)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(ENDING)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _ask(self, message: object) -> str | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            try:
                self._process.stdin.write(json.dumps(message) + "\n")
                self._process.stdin.flush()
                answer = self._process.stdout.readline()
            except (OSError, ValueError):
                answer = ""
        if not answer:
            raise IroshError(ErrorCode.INTERNAL, "the process that would undo the changes to this machine has gone")
        told = json.loads(answer)
        return None if told is None else str(told)
