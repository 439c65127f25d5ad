"""Aligned columns and readable times for people. Whatever the cells hold, they cannot disturb the terminal."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence

from irosh.core.wording import escape
from irosh.faces.cli.output import style

_GAP = "  "
_LONGEST_CELL = 500


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """``rows`` below ``header``, each column as wide as its widest cell; the last one ends where its text ends."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (header, *cells)) for column in range(len(header))]
    lines = [style(_line(header, widths), "dim"), *(_line(row, widths) for row in cells)]
    return "\n".join(lines)


def fields(pairs: Sequence[tuple[str, str]]) -> str:
    """Names and values, one pair a line, the values aligned; pairs without a value are left out."""
    shown = [(name, printable(value)) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{style(name.ljust(width), 'dim', sys.stdout)}{_GAP}{value}" for name, value in shown)


def printable(text: str) -> str:
    """``text`` without anything that could move the cursor, forge a line or fail to encode."""
    return text if text.isprintable() and len(text) <= _LONGEST_CELL else escape(text, _LONGEST_CELL)


def clock_time(timestamp: float | None) -> str:
    """Unix seconds as local date and time."""
    if timestamp is None:
        return "never"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))
    except (ValueError, OverflowError, OSError):  # a peer may say anything
        return "unknown"


def age(timestamp: float | None) -> str:
    """How long ago ``timestamp`` (Unix seconds) was, in its one or two largest units: ``3d4h``, ``12m``."""
    if timestamp is None:
        return "never"
    passed = time.time() - timestamp
    if not math.isfinite(passed):
        return "unknown"
    seconds = max(0, int(passed))
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d{hours}h" if days < 10 and hours else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    return f"{minutes}m" if minutes else f"{seconds}s"


def milliseconds(value: float | None) -> str:
    """A round trip time; the engine knows whole milliseconds, so a short one is only known to be that."""
    return "-" if value is None else f"{value:.0f} ms" if value >= 1 else "<1 ms"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
    return _GAP.join([*padded, cells[-1]])
