"""Linux network namespaces: their names, entering one, and removing it with all that runs there.

A name holds the id of the process that made it: several test processes do not meet, and what a killed one left behind
is removed by the next.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from tests.lab.processes import command_line, wait_until

_PREFIX = "irosh-lab"
_DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x4000_0000  # os.CLONE_NEWNET, from Python 3.12 on

serial = count(1)
"""Numbers that make names unique in this process."""


def namespace_name(name: str) -> str:
    """A name that no other namespace has."""
    return f"{_PREFIX}-{os.getpid()}-{next(serial)}-{name}"


def ip(*arguments: str) -> str:
    """What ``ip`` prints; ``AssertionError`` when it fails."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


@contextmanager
def entered(namespace: str) -> Iterator[None]:
    """This thread is in ``namespace`` for the length of the block; sockets made there stay there.

    Threads started in the block are there too, until they end.
    """
    with Path("/proc/thread-self/ns/net").open() as before, (_DIRECTORY / namespace).open() as there:
        _set_namespace(there.fileno())
        try:
            yield
        finally:
            _set_namespace(before.fileno())


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "setns")


def remove_namespace(namespace: str) -> list[str]:
    """Remove a namespace with all that runs there; returns the commands of what did."""
    commands: dict[int, str] = {}

    def empty() -> bool:
        # Asked again and again, because a program may be entering it just now.
        pids = [int(pid) for pid in ip("netns", "pids", namespace).split()]
        for pid in pids:
            commands[pid] = command_line(pid) or commands.get(pid, "")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_until(empty, what=f"{namespace} is empty")
    ip("netns", "delete", namespace)
    return [command for command in commands.values() if command]


def remove_abandoned() -> None:
    """Remove what test processes that are gone had no time to remove."""
    with suppress(FileNotFoundError):
        for entry in _DIRECTORY.iterdir():
            if entry.name.startswith(f"{_PREFIX}-"):
                owner = entry.name.removeprefix(f"{_PREFIX}-").partition("-")[0]
                if not Path("/proc", owner).exists():
                    # Another test process may be doing the same.
                    with suppress(AssertionError):
                        remove_namespace(entry.name)
