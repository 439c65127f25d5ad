"""A program on a terminal of which every byte is kept, so that what it shows can be computed (by pyte) and compared."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyte

from tests.lab.machine import end_group
from tests.lab.processes import wait_until

SCREEN_DEADLINE = 30.0


class StockScreen(pyte.Screen):
    """pyte's own screen, but for private forms of SGR, which it takes for the plain one and stumbles over."""

    def select_graphic_rendition(self, *attrs: int, **kwargs: Any) -> None:
        if not kwargs.get("private"):
            super().select_graphic_rendition(*attrs)


class CapturedTerminal:
    """Context manager. ``reads`` False: nothing is read from it until :meth:`read_on`."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        environment: Mapping[str, str] | None = None,
        reads: bool = True,
    ) -> None:
        self.columns, self.rows = columns, rows
        self._captured = bytearray()
        self._fed: _Fed | None = None
        self._changed = threading.Condition()
        self._controller, child = os.openpty()
        _set_size(child, columns, rows)
        self.process = subprocess.Popen(
            list(command),
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
        )
        os.close(child)
        self._ending, self._end = os.pipe()
        self._reader = threading.Thread(target=self._read, daemon=True)
        if reads:
            self._reader.start()

    def __enter__(self) -> CapturedTerminal:
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is not None:
            error.add_note(f"--- the screen of {self.process.args!r}\n" + "\n".join(self.display()))
        with contextlib.suppress(OSError):
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            pass
        finally:
            end_group(self.process)
            os.close(self._end)
            if self._reader.is_alive():
                self._reader.join()  # or it would go on with whatever has the descriptor's number next
            os.close(self._ending)
            os.close(self._controller)

    def read_on(self) -> None:
        """Begin to read, where it did not before."""
        self._reader.start()

    def type(self, text: str) -> None:
        """Type ``text`` as it is, and Enter."""
        self.press(f"{text}\r".encode())

    def press(self, keys: bytes) -> None:
        """Type these bytes."""
        view = memoryview(keys)
        while view:
            view = view[os.write(self._controller, view) :]

    def resize(self, columns: int, rows: int) -> None:
        """Change its size."""
        self.columns, self.rows = columns, rows
        _set_size(self._controller, columns, rows)

    def output(self) -> bytes:
        """All that it was sent."""
        with self._changed:
            return bytes(self._captured)

    def screen(self) -> StockScreen:
        """What a terminal would show of it."""
        output = self.output()
        size = (self.columns, self.rows)
        if self._fed is None or self._fed.size != size:
            screen = StockScreen(*size)
            self._fed = _Fed(size, screen, pyte.ByteStream(screen))
        fed = self._fed
        fed.stream.feed(output[fed.length :])  # pyte is too slow to begin anew each time
        fed.length = len(output)
        return fed.screen

    def display(self) -> list[str]:
        """The lines of the screen, without blanks at their ends."""
        return [line.rstrip() for line in self.screen().display]

    def wait_for(self, text: str, *, timeout: float = SCREEN_DEADLINE) -> list[str]:
        """The screen, once ``text`` can be seen on it."""
        wait_until(lambda: text in "\n".join(self.display()), timeout=timeout, what=f"the screen shows {text!r}")
        return self.display()

    def echoes(self) -> bool:
        """Whether what is typed is shown."""
        return bool(termios.tcgetattr(self._controller)[3] & termios.ECHO)

    def wait_exit(self) -> int:
        """The exit status, once it has ended."""
        return self.process.wait(SCREEN_DEADLINE)

    def _read(self) -> None:
        while self._ending not in select.select([self._controller, self._ending], [], [])[0]:
            try:
                data = os.read(self._controller, 65536)
            except OSError:
                return
            if not data:
                return
            with self._changed:
                self._captured += data


@dataclass
class _Fed:
    """A screen, and how much of the output is on it."""

    size: tuple[int, int]
    screen: StockScreen
    stream: pyte.ByteStream
    length: int = 0


def _set_size(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
