"""The terminal the user sits at: its size and modes, raw mode, and giving it back for a while."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
import tty
from collections.abc import Iterator
from typing import Any

from irosh.faces.cli.screen import Screen
from irosh.faces.cli.writing import write_all


class LocalTerminal:
    """A terminal, by the descriptor of its device."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._before: list[Any] | None = None  # the modes to give back
        self._raw = False
        self._screen: Screen | None = None

    @classmethod
    def find(cls) -> LocalTerminal | None:
        """The terminal on standard input, if it is one."""
        with contextlib.suppress(ValueError, OSError):
            if os.isatty(0):
                return cls(0)
        return None

    def request(self) -> dict[str, Any]:
        """What the remote side needs to make one like it."""
        from irosh.services.shell.terminal_modes import read_modes

        return {
            "terminal": os.environ.get("TERM") or "dumb",
            "size": self.size(),
            "modes": {str(opcode): value for opcode, value in read_modes(self.descriptor).items()},
        }

    def size(self) -> tuple[int, int, int, int]:
        """Columns, rows, width and height in pixels."""
        try:
            packed = fcntl.ioctl(self.descriptor, termios.TIOCGWINSZ, b"\0" * 8)
        except OSError:
            return (80, 24, 0, 0)
        rows, columns, width, height = struct.unpack("HHHH", packed)
        return (columns or 80, rows or 24, width, height)

    # -- for a terminal of which a part is not the session's: see irosh.faces.cli.status_bar

    pause: float | None = None
    """Seconds after which :meth:`idle` wants to be called, whatever happens or not."""

    def begin(self, connected: dict[str, Any]) -> None:
        """A session has begun, with this event."""

    def passed(self, data: bytes) -> bytes:
        """The session's output as it is written."""
        return data

    def idle(self) -> None:
        """There is time for something else."""

    def resized(self) -> None:
        """The terminal has another size."""

    def write(self, descriptor: int, data: bytes) -> None:
        """Write to a standard stream; what is seen on this terminal may wait then, see :attr:`stalled`."""
        if self._screen is not None and self._screen.shows(descriptor):
            self._screen.write(data)
        else:
            write_all(descriptor, data)

    @property
    def stalled(self) -> Screen | None:
        """The screen while it takes less than was written to it."""
        return self._screen if self._screen is not None and self._screen.waiting else None

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Raw mode: keys go to the remote side as typed. Restored whatever happens."""
        self._before = termios.tcgetattr(self.descriptor)
        self._screen = Screen.of(self.descriptor)
        if self._screen is not None:
            self._screen.begin()
        try:
            self._enter()
            yield
        finally:
            self.give_back()

    @contextlib.contextmanager
    def cooked(self) -> Iterator[None]:
        """Within raw mode: the modes that were before, for the length of the block."""
        self._leave()
        try:
            yield
        finally:
            self._enter()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Within raw mode, for a prompt of our own: as :meth:`cooked`, but keys wait as typed, and are not echoed."""
        with self.cooked():
            modes = termios.tcgetattr(self.descriptor)
            modes[0] &= ~termios.ICRNL
            modes[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(self.descriptor, termios.TCSANOW, modes)
            yield

    def suspend(self) -> None:
        """Stop this process as Ctrl-Z does, with the terminal given back, until it is continued."""
        with self.cooked():
            os.kill(os.getpid(), signal.SIGTSTP)

    def give_back(self) -> None:
        """Leave raw mode for good, within :meth:`raw`."""
        self._leave()
        self._before = None
        if self._screen is not None:
            self._screen.end()
            self._screen = None

    def continued(self) -> None:
        """After a stop that came from elsewhere, when a shell may have changed the modes: raw again."""
        with contextlib.suppress(OSError):
            if self._raw and os.tcgetpgrp(self.descriptor) == os.getpgrp():
                self._enter()

    def _enter(self) -> None:
        if self._before is not None:
            with contextlib.suppress(termios.error):  # it has gone
                tty.setraw(self.descriptor, termios.TCSANOW)
            self._raw = True

    def _leave(self) -> None:
        if self._before is not None:
            self._raw = False
            taken = self._screen is None or self._screen.drain()
            with contextlib.suppress(termios.error):  # it has gone
                termios.tcsetattr(self.descriptor, termios.TCSADRAIN if taken else termios.TCSANOW, self._before)


def line_end(descriptor: int) -> str:
    """What ends a line of text written to ``descriptor``: a raw terminal does not go back to the left by itself."""
    with contextlib.suppress(termios.error, ValueError, OSError):
        if not termios.tcgetattr(descriptor)[1] & termios.OPOST:
            return "\r\n"
    return "\n"
