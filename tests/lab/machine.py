"""A machine: where programs run. This one, or (:mod:`tests.lab.network`) a network namespace."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from tests.lab.processes import wait_until


class Machine:
    """``prefix`` is what goes before a command so that it runs there; ``addresses`` are where others reach it."""

    def __init__(self, name: str, *, prefix: tuple[str, ...] = (), addresses: Sequence[str] = ()) -> None:
        self.name = name
        self.prefix = prefix
        self.addresses = list(addresses)

    @property
    def address(self) -> str:
        """The first of its addresses."""
        return self.addresses[0]

    def run(
        self,
        *command: str,
        stdin: bytes | IO[bytes] = b"",
        timeout: float = 60.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end. ``AssertionError`` with what it printed if ``check`` and it fails."""
        arguments = [*self.prefix, *command]
        given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            arguments, **given, capture_output=True, timeout=timeout, env=_merged(environment), check=False
        )
        if check and done.returncode != 0:
            shown = b"\n".join([done.stdout[-2000:], done.stderr[-2000:]]).decode(errors="replace")
            raise AssertionError(f"{' '.join(command)} on {self.name} ended with {done.returncode}:\n{shown}")
        return done

    def popen(
        self,
        *command: str,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
        stderr: IO[bytes] | int = subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program, in a process group of its own. Whoever calls this ends it."""
        return subprocess.Popen(
            [*self.prefix, *command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=_merged(environment),
            start_new_session=True,
        )

    @contextmanager
    def running(
        self, *command: str, ready: Callable[[], object], environment: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A server for the length of the block, which begins once ``ready()`` is true."""
        with tempfile.TemporaryFile() as log:
            process = self.popen(*command, stdout=log, stderr=log, environment=environment)
            try:
                wait_until(lambda: process.poll() is not None or ready(), what=f"{command[0]} on {self.name} is ready")
                if process.poll() is not None:
                    log.seek(0)
                    raise AssertionError(f"{command[0]} ended at once: {log.read().decode(errors='replace')[-2000:]}")
                yield process
            finally:
                end_group(process)


LOCAL = Machine("localhost", addresses=("127.0.0.1",))
"""The machine the tests run on, by loopback."""


def end_group(process: subprocess.Popen[bytes], *, grace: float = 5.0) -> None:
    """End a process that :meth:`Machine.popen` started, and what it left in its group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _merged(environment: Mapping[str, str] | None) -> dict[str, str]:
    """This process's environment, without what would change how ``irosh`` or a shell behaves, and additions."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("IROSH_", "LC_", "TMUX", "COLORTERM", "SSH_"))
    }
    return {**kept, "LANG": "C.UTF-8", **(environment or {})}
