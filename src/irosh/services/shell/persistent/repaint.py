"""From a screen in memory to the bytes that make a terminal show it and behave like it. Pure, no I/O."""

from __future__ import annotations

import re

from pyte import charsets

from irosh.services.shell.persistent.cells import BLANK, PLAIN, line_bytes
from irosh.services.shell.persistent.screen import Screen
from irosh.services.shell.persistent.terminal_settings import Saved

# Private modes that say how keys, mouse and focus are reported, and how the screen behaves.
_MODES = (1, 5, 9, 12, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 2004)
_ON_BY_DEFAULT = (7, 25)
_SEQUENCE = re.compile(rb"\x1b\[[0-9;]*m")
_CHARSETS = {id(table): code for code, table in charsets.MAPS.items()}

CLEAN = (
    "\x1b[?6l\x1b[r\x1b[m\x0f\x1b(B\x1b)0\x1b[4l\x1b[20l"
    + "".join(f"\x1b[?{mode}l" for mode in _MODES)
    + "".join(f"\x1b[?{mode}h" for mode in _ON_BY_DEFAULT)
    + "\x1b>"
)
"""Brings a terminal back to what a shell expects, whatever ran on it; the screen and which of the two stay."""


def repaint(screen: Screen, *, history: bool) -> bytes:
    """All of ``screen``; with ``history`` the scrollback before it, and what the terminal shows now scrolls away."""
    parts = ["\x1b[?1049l", CLEAN]
    if history:
        parts.append(f"\x1b[{screen.lines};1H" + "\n" * screen.lines)
    parts.append("\x1b[H\x1b[2J")
    text = "".join(parts).encode()
    on_main = screen.main is None
    rows = [line_bytes(screen.row(y) if on_main else screen.main_row(y)) for y in range(screen.lines)]
    text += b"\r\n".join([*(screen.history if history else ()), *rows])
    if screen.main is not None:
        text += _cursor(screen, screen.main.saved) + b"\x1b[?1049h\x1b[H\x1b[2J"
        text += b"\r\n".join(line_bytes(screen.row(y)) for y in range(screen.lines))
    return text + _settings(screen)


def plain_text(screen: Screen) -> bytes:
    """Scrollback and screen up to the cursor, without any sequence. The cursor's line is not ended."""
    rows = (screen.row(y) for y in range(screen.cursor.y + 1))
    lines = ("".join(cell.data for cell in row).rstrip().encode() for row in rows)
    return b"\r\n".join([*(_SEQUENCE.sub(b"", line) for line in screen.history), *lines])


def _cursor(screen: Screen, saved: Saved | None) -> bytes:
    """The cursor where the main screen had it."""
    if saved is None:
        return b""
    return f"\x1b[{saved.cursor.y + 1};{min(saved.cursor.x, screen.columns - 1) + 1}H".encode()


def _settings(screen: Screen) -> bytes:
    parts: list[str] = []
    if screen.title:
        parts.append(f"\x1b]2;{screen.title}\x07")
    if screen.tabstops != set(range(8, screen.columns, 8)):
        stops = sorted(stop for stop in screen.tabstops if stop < screen.columns)
        parts += ["\x1b[3g", *(f"\x1b[1;{stop + 1}H\x1bH" for stop in stops)]
    if screen.saved is None:
        parts.append("\x1b[H\x1b7")
    else:
        parts += [_position(screen, screen.saved.cursor), _charset(screen.saved), "\x1b7\x0f\x1b(B\x1b)0\x1b[m"]
    if screen.margins is not None:
        parts.append(f"\x1b[{screen.margins.top + 1};{screen.margins.bottom + 1}r")
    if screen.has_mode(20, private=False):
        parts.append("\x1b[20h")
    parts.append(behaviour(screen).decode())
    parts.append(_position(screen, screen.cursor))
    if screen.has_mode(6, private=True):
        # Setting origin mode moves the cursor, to a place that is counted from the margin then.
        top = screen.margins.top if screen.margins is not None else 0
        parts.append(
            f"\x1b[?6h\x1b[{max(1, screen.cursor.y - top + 1)};{min(screen.cursor.x, screen.columns - 1) + 1}H"
        )
    parts.append(_charset(Saved(screen.cursor, screen.g0_charset, screen.g1_charset, screen.charset, origin=False)))
    if screen.has_mode(4, private=False):
        parts.append("\x1b[4h")
    if not screen.has_mode(7, private=True):
        parts.append("\x1b[?7l")
    if screen.cursor.hidden:
        parts.append("\x1b[?25l")
    return "".join(parts).encode()


def behaviour(screen: Screen) -> bytes:
    """How keys and mouse are reported and how the cursor looks, for a terminal that is as :data:`CLEAN` leaves it."""
    extras = screen.extras
    parts = [f"\x1b[?{mode}h" for mode in _MODES if screen.has_mode(mode, private=True)]
    if extras.keypad:
        parts.append("\x1b=")
    if extras.cursor_shape:
        parts.append(f"\x1b[{extras.cursor_shape} q")
    if extras.modify_keys:
        parts.append(f"\x1b[>{extras.modify_keys}m")
    parts += [f"\x1b[>{flags}u" for flags in extras.keyboard]
    return "".join(parts).encode()


def _position(screen: Screen, cursor: object) -> str:
    """Move there, in the cursor's look. Behind the last column the character there is written again."""
    x, y = cursor.x, cursor.y  # type: ignore[attr-defined]
    style = cursor.attrs.style  # type: ignore[attr-defined]
    look = style.sequence() if style != PLAIN else "\x1b[m"
    if x < screen.columns:
        return f"\x1b[{y + 1};{x + 1}H{look}"
    row = screen.row(y)
    start = screen.columns - (2 if row[-1].data == "" and screen.columns > 1 else 1)
    again = line_bytes([cell if cell != BLANK else BLANK for cell in row[start:]]).decode() or " "
    return f"\x1b[{y + 1};{start + 1}H{again}{look}"


def _charset(state: Saved) -> str:
    g0, g1 = _CHARSETS.get(id(state.g0), "B"), _CHARSETS.get(id(state.g1), "0")
    text = ("" if g0 == "B" else f"\x1b({g0}") + ("" if g1 == "0" else f"\x1b){g1}")
    return text + ("\x0e" if state.charset else "")
