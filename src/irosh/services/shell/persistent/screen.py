"""The screen as a program sees it: pyte's, with what pyte leaves out. Pure, no I/O.

That is the alternate screen, scrollback, sequences that ncurses and editors use (REP, SU, SD, CBT, DECSCUSR, …), the
colours as they were chosen, and speed: runs of plain characters are drawn at once.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from copy import copy
from dataclasses import dataclass
from typing import Any

import pyte
from pyte import charsets
from pyte import modes as pyte_modes
from pyte.screens import Cursor, Margins, StaticDefaultDict
from wcwidth import wcwidth

from irosh.services.shell.persistent.cells import BLANK, Cell, CellTable, Style, line_bytes
from irosh.services.shell.persistent.scrollback import Scrollback
from irosh.services.shell.persistent.terminal_settings import Extras, Saved, never_saved

MAX_COLUMNS, MAX_ROWS = 500, 300

_SCREEN_MODES = frozenset({47, 1047, 1049})
_PRIVATE_SHIFT = 5  # pyte keeps a private mode as its number times 32
_NOT_PLAIN = pyte_modes.IRM


class Screen(pyte.Screen):
    """One terminal. Sizes are in characters and kept within limits."""

    def __init__(self, columns: int, rows: int) -> None:
        self.history = Scrollback()
        self.saved: Saved | None = None
        self.main: _Main | None = None
        self.extras = Extras()
        self._cells = CellTable()
        self._last = " "
        super().__init__(_within(columns, MAX_COLUMNS), _within(rows, MAX_ROWS))

    # -- what pyte asks

    @property
    def default_char(self) -> Any:
        return BLANK

    def reset(self) -> None:
        super().reset()
        self.cursor = Cursor(0, 0, BLANK)  # type: ignore[arg-type]
        self.saved = self.main = None
        self.extras = Extras()

    @property
    def style(self) -> Style:
        """The look of what is drawn next."""
        style: Style = self.cursor.attrs.style  # type: ignore[attr-defined]
        return style

    @style.setter
    def style(self, style: Style) -> None:
        self.cursor.attrs = self._cells[style][" "]  # type: ignore[assignment]

    def row(self, y: int) -> list[Cell]:
        """The cells of one line."""
        line: Any = self.buffer[y]
        return [line[x] for x in range(self.columns)]

    # -- drawing

    def draw(self, data: str) -> None:
        charset = self.g1_charset if self.charset else self.g0_charset
        if charset is not charsets.LAT1_MAP:
            data = data.translate(charset)
        if not data:
            return
        self._last = data[-1]
        if data.isascii() and _NOT_PLAIN not in self.mode:
            self._draw_plain(data)
        else:
            for character in data:
                self._draw_one(character)

    def _draw_plain(self, data: str) -> None:
        """ASCII, without insert mode."""
        cells = self._cells[self.style]
        wraps = pyte_modes.DECAWM in self.mode
        position = 0
        while position < len(data):
            x = self._place(1, wraps)
            part = data[position : position + self.columns - x]
            if not wraps and len(data) - position > len(part):
                part = part[:-1] + data[-1]  # all that comes lands in the last column
                position = len(data)
            position += len(part)
            self._put(x, list(map(cells.__getitem__, part)))

    def _draw_one(self, character: str) -> None:
        width = wcwidth(character)
        if width < 0:
            return
        if width == 0:
            self._combine(character)
            return
        x = self._place(width, pyte_modes.DECAWM in self.mode)
        if pyte_modes.IRM in self.mode:
            self.insert_characters(width)
        cells = self._cells[self.style]
        self._put(x, [cells[character]] if width == 1 or self.columns == 1 else [cells[character], cells[""]])

    def _place(self, width: int, wraps: bool) -> int:
        """Where the next character goes, on the next line if it does not fit this one."""
        if self.cursor.x + width > self.columns and self.columns >= width:
            if wraps:
                self.carriage_return()
                self.index()
            else:
                self.cursor.x = self.columns - width
        return min(self.cursor.x, self.columns - 1)

    def _put(self, x: int, cells: list[Cell]) -> None:
        line: Any = self.buffer[self.cursor.y]
        end = x + len(cells)
        # Half of a wide character that is overwritten leaves the other half blank.
        if x and line[x].data == "" and cells[0].data != "":
            line[x - 1] = Cell(" ", line[x - 1].style)
        if end < self.columns and line[end].data == "":
            line[end] = Cell(" ", line[end].style)
        line.update(zip(range(x, end), cells, strict=True))
        self.cursor.x = end

    def _combine(self, character: str) -> None:
        line: Any = self.buffer[self.cursor.y]
        x = self.cursor.x - 1
        if x > 0 and line[x].data == "":
            x -= 1
        if x < 0 or len(line[x].data) > 16:
            return
        line[x] = Cell(unicodedata.normalize("NFC", line[x].data + character), line[x].style)

    def repeat(self, count: int) -> None:
        """REP: the last character again."""
        self.draw(self._last * min(count, self.columns * self.lines))

    # -- scrolling

    def index(self) -> None:
        top, bottom = self.margins or Margins(0, self.lines - 1)
        if self.cursor.y == bottom:
            self._scroll(top, bottom)
        elif self.cursor.y < self.lines - 1:
            self.cursor.y += 1

    def reverse_index(self) -> None:
        top, _ = self.margins or Margins(0, self.lines - 1)
        if self.cursor.y == top:
            self.scroll_down(1)
        elif self.cursor.y > 0:
            self.cursor.y -= 1

    def scroll_up(self, count: int) -> None:
        """SU."""
        top, bottom = self.margins or Margins(0, self.lines - 1)
        for _ in range(min(count, bottom - top + 1)):
            self._scroll(top, bottom)

    def scroll_down(self, count: int) -> None:
        """SD."""
        top, bottom = self.margins or Margins(0, self.lines - 1)
        for _ in range(min(count, bottom - top + 1)):
            for y in range(bottom, top, -1):
                self._move_line(y - 1, y)
            self._new_line(top)

    def _scroll(self, top: int, bottom: int) -> None:
        if top == 0 and self.main is None:
            self.history.append(line_bytes(self.row(0)))
        for y in range(top, bottom):
            self._move_line(y + 1, y)
        self._new_line(bottom)

    def _move_line(self, source: int, target: int) -> None:
        line = self.buffer.pop(source, None)
        if line is None:
            self.buffer.pop(target, None)
        else:
            self.buffer[target] = line

    def _new_line(self, y: int) -> None:
        self.buffer.pop(y, None)
        if self.style.background:
            line: Any = self.buffer[y]
            line.update(dict.fromkeys(range(self.columns), Cell(" ", self.style.erased)))

    def insert_lines(self, count: int | None = None) -> None:
        top, bottom = self.margins or Margins(0, self.lines - 1)
        if top <= self.cursor.y <= bottom:
            for _ in range(min(count or 1, bottom - self.cursor.y + 1)):
                for y in range(bottom, self.cursor.y, -1):
                    self._move_line(y - 1, y)
                self._new_line(self.cursor.y)
            self.carriage_return()

    def delete_lines(self, count: int | None = None) -> None:
        top, bottom = self.margins or Margins(0, self.lines - 1)
        if top <= self.cursor.y <= bottom:
            for _ in range(min(count or 1, bottom - self.cursor.y + 1)):
                for y in range(self.cursor.y, bottom):
                    self._move_line(y + 1, y)
                self._new_line(bottom)
            self.carriage_return()

    # -- erasing

    def insert_characters(self, count: int | None = None) -> None:
        self._shift(min(count or 1, self.columns))

    def delete_characters(self, count: int | None = None) -> None:
        self._shift(-min(count or 1, self.columns))

    def _shift(self, by: int) -> None:
        """Move what is from the cursor to the end of the line; blanks come in."""
        x = min(self.cursor.x, self.columns - 1)
        row = self.row(self.cursor.y)
        blanks = [Cell(" ", self.style.erased)] * abs(by)
        tail = [*blanks, *row[x:]] if by > 0 else [*row[x - by :], *blanks]
        self._fill(self.cursor.y, x, tail[: self.columns - x])

    def erase_characters(self, count: int | None = None) -> None:
        x = min(self.cursor.x, self.columns - 1)
        self._erase(self.cursor.y, x, min(x + (count or 1), self.columns))

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        x = min(self.cursor.x, self.columns - 1)
        start, end = {0: (x, self.columns), 1: (0, x + 1), 2: (0, self.columns)}.get(how, (0, 0))
        self._erase(self.cursor.y, start, end)

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        if how == 3:
            self.history.clear()
            return
        rows = {0: range(self.cursor.y + 1, self.lines), 1: range(self.cursor.y), 2: range(self.lines)}.get(how)
        for y in rows or ():
            self._new_line(y)
        if how in (0, 1):
            self.erase_in_line(how)

    def _erase(self, y: int, start: int, end: int) -> None:
        if start < end:
            self._fill(y, start, [Cell(" ", self.style.erased)] * (end - start))

    def _fill(self, y: int, x: int, cells: list[Cell]) -> None:
        kept = self.cursor.x, self.cursor.y
        self.cursor.y = y
        self._put(x, cells)
        self.cursor.x, self.cursor.y = kept

    # -- the cursor

    def save_cursor(self) -> None:
        self.saved = Saved(
            copy(self.cursor), self.g0_charset, self.g1_charset, self.charset, pyte_modes.DECOM in self.mode
        )

    def restore_cursor(self) -> None:
        saved = self.saved or never_saved()
        hidden = self.cursor.hidden
        self.cursor = copy(saved.cursor)
        self.cursor.hidden = hidden
        self.g0_charset, self.g1_charset, self.charset = saved.g0, saved.g1, saved.charset
        (self.mode.add if saved.origin else self.mode.discard)(pyte_modes.DECOM)
        self.cursor.x = min(self.cursor.x, self.columns)
        self.cursor.y = min(self.cursor.y, self.lines - 1)

    def cursor_to_line(self, line: int | None = None) -> None:
        column = self.cursor.x
        self.cursor_position(line, 1)
        self.cursor.x = min(column, self.columns - 1)

    def back_tab(self, count: int) -> None:
        """CBT."""
        for _ in range(min(count, self.columns)):
            self.cursor.x = max((stop for stop in self.tabstops if stop < self.cursor.x), default=0)

    def forward_tab(self, count: int) -> None:
        """CHT."""
        for _ in range(min(count, self.columns)):
            self.tab()

    # -- modes

    def set_mode(self, *modes: int, **kwargs: Any) -> None:
        self._change_modes(modes, on=True, private=bool(kwargs.get("private")))

    def reset_mode(self, *modes: int, **kwargs: Any) -> None:
        self._change_modes(modes, on=False, private=bool(kwargs.get("private")))

    def has_mode(self, number: int, *, private: bool) -> bool:
        """Whether the mode is set."""
        return (number << _PRIVATE_SHIFT if private else number) in self.mode

    def _change_modes(self, modes: tuple[int, ...], *, on: bool, private: bool) -> None:
        for mode in modes:
            if private and mode in _SCREEN_MODES:
                self._switch_screen(mode, on=on)
                continue
            if private and mode == 1048:
                (self.save_cursor if on else self.restore_cursor)()
                continue
            if len(self.mode) < 256 or not on:
                (self.mode.add if on else self.mode.discard)(mode << _PRIVATE_SHIFT if private else mode)
            if private and mode == 6:
                self.cursor_position()
            elif private and mode == 25:
                self.cursor.hidden = not on

    def _switch_screen(self, mode: int, *, on: bool) -> None:
        if on == (self.main is not None):
            return
        if on:
            if mode == 1049:
                self.save_cursor()
            self.main = _Main(self.buffer, self.saved)
            self.buffer = self._empty()
            self.saved = copy(self.saved)
        else:
            assert self.main is not None
            self.buffer, self.saved, self.main = self.main.buffer, self.main.saved, None
            if mode == 1049:
                self.restore_cursor()

    def _empty(self) -> Any:
        return defaultdict(lambda: StaticDefaultDict(BLANK))

    def main_row(self, y: int) -> list[Cell]:
        """A line of the main screen while the alternate one is shown."""
        assert self.main is not None
        line: Any = self.main.buffer[y]
        return [line[x] for x in range(self.columns)]

    # -- the size

    def resize(self, lines: int | None = None, columns: int | None = None) -> None:
        rows, columns = _within(lines or self.lines, MAX_ROWS), _within(columns or self.columns, MAX_COLUMNS)
        if (rows, columns) == (self.lines, self.columns):
            return
        if self.main is not None:
            saved = self.main.saved
            row = saved.cursor.y if saved is not None else rows - 1
            self.main.buffer, gone = self._resized(self.main.buffer, row, rows, columns)
            if saved is not None:
                saved.cursor.y, saved.cursor.x = max(0, saved.cursor.y - gone), min(saved.cursor.x, columns - 1)
            self.buffer, gone = self._resized(self.buffer, self.cursor.y, rows, columns, keep=False)
        else:
            self.buffer, gone = self._resized(self.buffer, self.cursor.y, rows, columns)
        self.lines, self.columns = rows, columns
        self.margins = None
        self.tabstops = set(range(8, columns, 8))
        self.cursor.y = min(max(0, self.cursor.y - gone), rows - 1)
        self.cursor.x = min(self.cursor.x, columns - 1)
        if self.saved is not None:
            self.saved.cursor.y = min(self.saved.cursor.y, rows - 1)
            self.saved.cursor.x = min(self.saved.cursor.x, columns - 1)

    def _resized(self, buffer: Any, row: int, rows: int, columns: int, *, keep: bool = True) -> tuple[Any, int]:
        """``buffer`` with another size: lines go at the top so that ``row`` stays, as in xterm. And how many went."""
        gone = max(0, row - rows + 1)
        resized = self._empty()
        for y, line in buffer.items():
            for x in [x for x in line if x >= columns]:
                del line[x]
            if columns and line.get(columns - 1, BLANK).data and wcwidth(line.get(columns - 1, BLANK).data[0]) == 2:
                line[columns - 1] = Cell(" ", line[columns - 1].style)
            if gone <= y < gone + rows:
                resized[y - gone] = line
        if keep:
            for y in range(gone):
                line = buffer[y]
                self.history.append(line_bytes(line[x] for x in range(columns)))
        return resized, gone


@dataclass
class _Main:
    """The main screen while the alternate one is shown."""

    buffer: Any
    saved: Saved | None


def _within(value: int, most: int) -> int:
    return max(1, min(value, most))
