"""The screen of a terminal, written to without waiting for it: a terminal may take nothing for as long as it likes."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
import time
from typing import Any

MAX_TEXT = 1024 * 1024  # bytes that may wait before text of our own is dropped
PATIENCE = 0.3  # seconds for which a terminal may take nothing before it is not waited for any more
FAREWELL = 2.0  # seconds that are waited for one that takes little


class Screen:
    """What is written and not taken yet waits here, in order; whoever brings much looks at :attr:`waiting` first."""

    def __init__(self, descriptor: int) -> None:
        # Not to wait is a property of what is open, which other programs share: this is opened by us alone.
        self._descriptor = os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        device = os.fstat(self._descriptor).st_rdev
        self._shown = {each for each in (1, 2) if os.isatty(each) and os.fstat(each).st_rdev == device}
        self._unsent = bytearray()
        self._lock = threading.Lock()  # a log is written by other threads

    @classmethod
    def of(cls, descriptor: int) -> Screen | None:
        """None where the terminal cannot be opened, as after su(1)."""
        with contextlib.suppress(OSError):
            return cls(descriptor)
        return None

    def begin(self) -> None:
        """What is told on standard error goes here too, if it is seen here: in order, and without waiting."""
        self._stderr = sys.stderr
        if self.shows(2):
            sys.stderr = _Text(self)

    def end(self) -> None:
        """Nothing more is written here, unless the terminal has not taken all: then nothing is to wait for it later."""
        if not self._unsent:
            sys.stderr = self._stderr
            os.close(self._descriptor)

    def fileno(self) -> int:
        """For ``select``."""
        return self._descriptor

    @property
    def waiting(self) -> int:
        """Bytes that the terminal has not taken yet."""
        return len(self._unsent)

    def shows(self, descriptor: int) -> bool:
        """Whether what is written to ``descriptor`` would be seen here."""
        return descriptor in self._shown

    def write(self, data: bytes) -> None:
        """Write what the terminal takes; the rest waits for :meth:`flush`. ``OSError`` when it has gone."""
        with self._lock:
            self._unsent += data
            self._flush()

    def write_text(self, text: str) -> None:
        """As :meth:`write`; where much waits already, the text is dropped."""
        if len(self._unsent) < MAX_TEXT:
            self.write(text.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Write more of what waits."""
        with self._lock:
            self._flush()

    def drain(self) -> bool:
        """Wait for the terminal, not for long; whether it has taken all."""
        until = time.monotonic() + FAREWELL
        with contextlib.suppress(OSError):
            while self._unsent and time.monotonic() < until:
                if not select.select([], [self._descriptor], [], PATIENCE)[1]:
                    break
                self.flush()
        return not self._unsent

    def _flush(self) -> None:
        while self._unsent:
            try:
                del self._unsent[: os.write(self._descriptor, self._unsent)]
            except BlockingIOError:
                return


class _Text(io.TextIOBase):
    """A stream of text in place of standard error."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    encoding: Any = "utf-8"

    def write(self, text: str) -> int:
        self._screen.write_text(text)
        return len(text)

    def flush(self) -> None:
        self._screen.flush()

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2
