"""What a program has set on a terminal, so that leaving it in the middle can undo that. Pure, no I/O."""

from __future__ import annotations

import re

from irosh.services.shell.persistent.repaint import CLEAN
from irosh.services.shell.persistent.sequences import NO_COLOUR

_SWITCH = re.compile(rb"\x1b\[\?([0-9;]+)([hl])")
_SCREENS = (b"47", b"1047", b"1049")
_LONGEST = 32


class Settings:
    """Follows the output that a terminal gets."""

    def __init__(self) -> None:
        self._alternate = False
        self._touched = False
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Output, split anywhere."""
        if b"\x1b" not in data and b"\x1b" not in self._tail:
            return
        data = self._tail + data
        self._tail = data[-_LONGEST:]
        for match in _SWITCH.finditer(data):
            if any(mode in _SCREENS for mode in match[1].split(b";")):
                self._alternate = match[2] == b"h"
        self._touched = self._touched or NO_COLOUR.search(data) is not None

    def undo(self) -> bytes:
        """What brings the terminal back to what a shell expects; nothing if nothing was changed."""
        if not self._touched:
            return b""
        text = "\x1b[?1049l" if self._alternate else ""
        # The margins are reset, which moves the cursor: it is saved around that.
        return f"{text}\x1b7{CLEAN}\x1b8\x1b[0 q\x1b[<16u\x1b[>4m\x1b[m".encode()
