"""A remote program that writes all the time, and clients whose output shows when what it wrote arrives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping, Sequence

from bench.measuring import BenchError

_CODE = r"""
import time
while True:
    for mark in "#@":
        print(end="\x1b[5;1H" + mark, flush=True)
        time.sleep(0.02)
"""
TICKING = shlex.join([sys.executable, "-c", _CODE])
"""A shell command: writes ``#`` and ``@`` in turn, fifty a second.

Always to the same place of the screen, and not where mosh says that it waits: mosh sends only what has changed.
"""
UTF8 = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}  # mosh insists
_READY_DEADLINE = 60.0
_STOP_GRACE = 10.0


class Client:
    """A program through which :data:`TICKING` is seen, by a pipe or, with ``terminal``, by a terminal."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None, *, terminal: bool) -> None:
        self.broken = 0
        """How often a byte was missing or doubled, as far as two marks can tell."""
        self._last = b""
        self._since = time.monotonic()
        self._seen: float | None = None
        self._changed = threading.Condition()
        ours, theirs = pty.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        try:
            self._process = subprocess.Popen(
                command,
                stdin=theirs if terminal else subprocess.DEVNULL,
                stdout=theirs,
                stderr=subprocess.DEVNULL,
                env=os.environ | UTF8 | {"TERM": "xterm"} | dict(environment or {}),
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._reader.join()

    def watch(self) -> None:
        """What comes from now on is news."""
        with self._changed:
            self._since, self._seen = time.monotonic(), None

    def first(self, patience: float) -> float:
        """Seconds from :meth:`watch` to the first mark; ``patience`` when none comes within that."""
        with self._changed:
            left = self._since + patience - time.monotonic()
            self._changed.wait_for(lambda: self._seen is not None, max(0.0, left))
            return patience if self._seen is None else self._seen - self._since

    def wait_ready(self) -> None:
        """Return once marks come."""
        self.watch()
        if self.first(_READY_DEADLINE) >= _READY_DEADLINE:
            raise BenchError(f"`{shlex.join(map(str, self._process.args))[:200]}` shows nothing")  # type: ignore[arg-type]

    def _read(self, descriptor: int) -> None:
        # A terminal whose last program has ended answers with an error.
        with open(descriptor, "rb", buffering=0) as output, contextlib.suppress(OSError):
            while data := output.read(65536):
                self._received(re.sub(rb"[^#@]", b"", data))

    def _received(self, marks: bytes) -> None:
        if not marks:
            return
        run = self._last + marks
        self.broken += run.count(b"##") + run.count(b"@@")
        self._last = marks[-1:]
        with self._changed:
            if self._seen is None:
                self._seen = time.monotonic()
                self._changed.notify_all()
