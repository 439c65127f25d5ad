"""Carries offers and answers as a person does: what one program shows is pasted where another one asks for it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

_BLOCK = re.compile(r"-----BEGIN IROSH (OFFER|ANSWER)-----\n[^-]+-----END IROSH \1-----\n")
_ASKS = re.compile(r"paste the other machine's (offer|answer) here")


class Screen:
    """What one program has printed, and a way to type to it."""

    def __init__(self, type_text: Callable[[str], None]) -> None:
        self.type_text = type_text
        self.printed = ""
        self.pasted: list[str] = []

    def wants(self, blocks: dict[str, str]) -> str | None:
        """The block of ``blocks`` that it asks for, unless that was pasted already."""
        asked = _ASKS.findall(self.printed)
        if len(asked) <= len(self.pasted):
            return None
        block = blocks.get(asked[len(self.pasted)])
        return None if block in self.pasted else block


class Clipboard:
    """All screens between which blocks are carried."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._screens: list[Screen] = []
        self._blocks: dict[str, str] = {}

    def add(self, screen: Screen) -> None:
        """Carry blocks from and to ``screen``."""
        with self._lock:
            self._screens.append(screen)
            self._carry()

    def printed(self, screen: Screen, text: str) -> None:
        """``screen`` shows ``text`` too."""
        with self._lock:
            screen.printed += text
            for found in _BLOCK.finditer(screen.printed):
                self._blocks[found[1].lower()] = found[0]
            self._carry()

    def _carry(self) -> None:
        for screen in self._screens:
            if (block := screen.wants(self._blocks)) is not None:
                screen.pasted.append(block)
                screen.type_text(block)
