"""Waiting with a deadline, and finding out which processes live."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], *, timeout: float = 30.0, every: float = 0.02, what: str) -> T:
    """The first true value of ``condition``, asked ``every`` so many seconds.

    ``AssertionError`` naming ``what`` after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:g} s still not: {what}")
        time.sleep(every)
    return value


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, told apart from a later one with the same id by when it started (clock ticks since boot)."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether it runs still; a zombie does not."""
        status = _status(self.pid)
        return status is not None and status.started == self.started and status.state not in "ZX"

    @property
    def command(self) -> str:
        """Its command line, as far as it can be read."""
        return command_line(self.pid)


@dataclass(frozen=True)
class _Status:
    state: str
    parent: int
    started: int


def _status(pid: int) -> _Status | None:
    """From proc_pid_stat(5)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return _Status(state=fields[0], parent=int(fields[1]), started=int(fields[19]))


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def command_line(pid: int) -> str:
    """The command line of a process; empty once it has gone."""
    return " ".join(_arguments(pid))


def _arguments(pid: int) -> list[str]:
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return content.decode(errors="replace").split("\0")[:-1]


def process_tree(pid: int) -> set[ProcessIdentity]:
    """``pid`` and all its descendants that live now."""
    statuses = {each: status for each in _all_pids() if (status := _status(each)) is not None}
    tree: set[int] = set()
    added = {pid} & statuses.keys()
    while added:
        tree |= added
        added = {each for each, status in statuses.items() if status.parent in added} - tree
    return {ProcessIdentity(each, statuses[each].started) for each in tree}


def processes_with(argument: str) -> list[int]:
    """Ids of the live processes of which one whole argument is ``argument``; choose one that nobody else uses."""
    found = []
    for pid in _all_pids():
        status = _status(pid)
        if status is not None and status.state not in "ZX" and argument in _arguments(pid):
            found.append(pid)
    return found


def resident_memory(pid: int) -> int:
    """Bytes of physical memory in use by a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has no resident memory")
