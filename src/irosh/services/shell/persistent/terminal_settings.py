"""What a terminal keeps besides what it shows, where pyte does not. Pure, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyte import charsets
from pyte.screens import Cursor

from irosh.services.shell.persistent.cells import BLANK


@dataclass
class Saved:
    """What DECSC saves."""

    cursor: Any
    g0: str
    g1: str
    charset: int
    origin: bool


@dataclass
class Extras:
    """Settings of a terminal that pyte does not keep."""

    keypad: bool = False
    cursor_shape: int = 0
    modify_keys: str = ""
    """The parameters of xterm's modifyOtherKeys, as they came."""
    keyboard: list[int] = field(default_factory=list)
    """The flags pushed by the kitty keyboard protocol."""


def never_saved() -> Saved:
    """What a terminal restores that has saved nothing (DECRC): home, with no attributes."""
    return Saved(Cursor(0, 0, BLANK), charsets.LAT1_MAP, charsets.VT100_MAP, 0, False)  # type: ignore[arg-type]
