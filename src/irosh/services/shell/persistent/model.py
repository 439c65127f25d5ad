"""What a session's terminal shows, known without being slowed down by knowing it. Pure, no I/O.

Output is only collected when it comes. It is interpreted later, in small pieces, and when somebody needs the screen.
When more comes than can be interpreted, the oldest is passed over: of that only what has a lasting effect is read.
"""

from __future__ import annotations

import re
import time

from irosh.services.shell.persistent.interpreter import apply
from irosh.services.shell.persistent.repaint import plain_text, repaint
from irosh.services.shell.persistent.screen import Screen
from irosh.services.shell.persistent.sequences import Tokenizer, lasting

MOST = 512 * 1024  # bytes that may wait
KEPT = 128 * 1024  # of these, when they are too many
AT_ONCE = 64 * 1024  # bytes that are interpreted when the screen is wanted now
_PIECE = 2048
_LINE_END = re.compile(rb"\n|(?=\x1b)")


class TerminalModel:
    """The screen of one session, with the output that it does not show yet."""

    def __init__(self, columns: int, rows: int) -> None:
        self.screen = Screen(columns, rows)
        self._tokenizer = Tokenizer()
        self._waiting = bytearray()

    @property
    def behind(self) -> int:
        """Bytes that wait."""
        return len(self._waiting)

    def add(self, data: bytes) -> None:
        """Output of the program."""
        self._waiting += data
        if len(self._waiting) > MOST:
            self._shorten(KEPT)

    def work(self, seconds: float) -> bool:
        """Interpret what waits for about this long; whether there is more."""
        end = time.perf_counter() + seconds
        while self._waiting and time.perf_counter() < end:
            self._interpret(_PIECE)
        return bool(self._waiting)

    def catch_up(self) -> Screen:
        """The screen with all output there is."""
        if len(self._waiting) > AT_ONCE:
            self._shorten(AT_ONCE)
        while self._waiting:
            self._interpret(len(self._waiting))
        return self.screen

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size from here on."""
        self.catch_up().resize(rows, columns)

    def text(self) -> bytes:
        """Scrollback and screen, for what is no terminal: up to the line with the cursor."""
        return plain_text(self.catch_up())

    def repaint(self, *, history: bool) -> bytes:
        """What makes a terminal of the same size show the session as it is now."""
        return repaint(self.catch_up(), history=history)

    def _interpret(self, size: int) -> None:
        piece = bytes(self._waiting[:size])
        del self._waiting[:size]
        for token in self._tokenizer.feed(piece):
            apply(self.screen, token)

    def _shorten(self, kept: int) -> None:
        """Pass over all but the last ``kept`` bytes, from the next line on."""
        start = len(self._waiting) - kept
        found = _LINE_END.search(self._waiting, start, start + 4096)
        if found is not None:
            start = found.end()
        passed = bytes(self._waiting[:start])
        # A sequence that was begun before is over: its end may be among what is left out.
        self._tokenizer = Tokenizer()
        self._waiting[:start] = lasting(passed)
