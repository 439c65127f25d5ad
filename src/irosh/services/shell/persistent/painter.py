"""Shows a session on a terminal of another size: the part that fits, and of that what has changed. Pure, no I/O."""

from __future__ import annotations

from irosh.services.shell.persistent.cells import BLANK, Cell, line_bytes
from irosh.services.shell.persistent.repaint import CLEAN, behaviour
from irosh.services.shell.persistent.screen import Screen


class Painter:
    """What one such terminal shows. ``columns`` and ``rows`` are its own."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.rows = rows
        self._lines: list[bytes] | None = None
        self._behaviour = b""
        self._last = b""

    def update(self, screen: Screen) -> bytes:
        """What brings it up to date; empty when nothing changed."""
        top, left = self._corner(screen)
        width = min(self.columns, screen.columns)
        lines = [_part(screen.row(y), left, width) for y in range(top, min(top + self.rows, screen.lines))]
        parts: list[bytes] = []
        if self._lines is None or len(self._lines) != len(lines):
            parts.append(f"\x1b[?1049h{CLEAN}\x1b[H\x1b[2J".encode())
            self._lines, self._behaviour = [b""] * len(lines), b""
        changed = behaviour(screen)
        if changed != self._behaviour:
            parts += [CLEAN.encode(), changed]
            self._behaviour = changed
        for y, line in enumerate(lines):
            if line != self._lines[y]:
                parts.append(f"\x1b[{y + 1};1H\x1b[2K".encode() + line)
        self._lines = lines
        x = min(max(0, screen.cursor.x - left), width - 1)
        end = f"\x1b[{screen.cursor.y - top + 1};{x + 1}H\x1b[?25{'l' if screen.cursor.hidden else 'h'}".encode()
        if not parts and end == self._last:
            return b""
        self._last = end
        return b"\x1b[?25l\x1b[m" + b"".join(parts) + end

    def _corner(self, screen: Screen) -> tuple[int, int]:
        """The first row and column that are shown: such that the cursor can be seen."""
        top = min(max(0, screen.cursor.y - self.rows + 1), max(0, screen.lines - self.rows))
        left = min(max(0, screen.cursor.x - self.columns + 1), max(0, screen.columns - self.columns))
        return top, left


def _part(row: list[Cell], left: int, width: int) -> bytes:
    part = row[left : left + width]
    if part and part[0].data == "":
        part[0] = BLANK
    if left + width < len(row) and row[left + width].data == "":
        part[-1] = BLANK
    return line_bytes(part)
