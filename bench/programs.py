"""Programs that a benchmark starts, waits for and always ends."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from bench.measuring import BenchError, Skipped

T = TypeVar("T")

READY_DEADLINE = 60.0
RUN_DEADLINE = 300.0
STOP_GRACE = 10.0
REPOSITORY = Path(__file__).resolve().parent.parent
IROSH = str(Path(sysconfig.get_path("scripts")) / "irosh")
_ROOT_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"


def find_program(name: str, package: str) -> str:
    """The program's path. :class:`Skipped` with the package to install when it is missing."""
    found = shutil.which(name) or shutil.which(name, path=_ROOT_PLACES)
    if found is None:
        raise Skipped(f"needs {name} (package {package})")
    return found


class Program:
    """A program that runs in the background until the context ends. Output and errors are read line by line."""

    def __init__(self, command: Sequence[str], *, stdin: bool = False) -> None:
        self.command = command
        self._process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the benchmark, which then ends its programs in order
        )
        self.pid = self._process.pid
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._last: deque[str] = deque(maxlen=20)
        self._reader = threading.Thread(target=self._read, name=f"output of {self.pid}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_line(self, find: Callable[[str], T | None], deadline: float = READY_DEADLINE) -> T:
        """The first thing that ``find`` makes of a line of output. :class:`BenchError` when none comes."""
        end = time.monotonic() + deadline
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise self._failure(f"said nothing useful for {deadline:.0f} s") from None
            if line is None:
                raise self._failure("ended early")
            if (found := find(line)) is not None:
                return found

    def tell(self, line: str) -> None:
        """Write a line to the program's standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """End it and what it started: SIGTERM, and SIGKILL to what does not heed it."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            self._reader.join()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _failure(self, what: str) -> BenchError:
        return BenchError(f"`{_shown(self.command)}` {what}:\n{''.join(self._last)}")


def started(command: Sequence[str], ready: Callable[[str], bool]) -> Program:
    """The program, once it has said a line that is ``ready``. When none comes it is stopped: :class:`BenchError`."""
    program = Program(command)
    try:
        program.wait_line(lambda line: line if ready(line) else None)
    except BaseException:
        program.stop()
        raise
    return program


def run(command: Sequence[str], *, stdin: str | None = None, deadline: float = RUN_DEADLINE) -> str:
    """Run a program to its end and return its output. :class:`BenchError` unless it succeeds within ``deadline`` s."""
    try:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"`{_shown(command)}` took longer than {deadline:.0f} s") from None
    if done.returncode:
        raise BenchError(f"`{_shown(command)}` failed ({done.returncode}):\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _shown(command: Sequence[str]) -> str:
    return " ".join(command)[:200]
