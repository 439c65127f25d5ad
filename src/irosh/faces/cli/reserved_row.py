"""A terminal whose last row is kept for something else than the program that writes to it. Pure, no I/O.

The program is told that there is one row less. Its output passes as it is, but for what could reach the last row: the
scroll region (DECSTBM), which never includes it, and positions, which end above it. What erases the row or gives the
region back (ED, DECSTR, RIS, DECALN, another screen) is noticed, and mended.

The row is written between two sequences of the program, never inside one. The cursor is saved and restored around it
(DECSC, DECRC), as nothing else keeps all that belongs to a cursor. But a terminal saves one cursor only: once the
program has saved its own, the cursor is put back from a model of the terminal, which is interpreted only then.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from irosh.services.shell.persistent.screen import Screen

_TOKEN = re.compile(
    rb"""(?P<plain>[^\x1b]+)
    | \x1b\[ (?P<prefix>[<-?]*) (?P<parameters>[0-9:;]*) (?P<between>[ -/]*) (?P<final>[@-~])
    | (?P<string>\x1b[\]PX^_])
    | \x1b (?P<escape>[ -/]* [0-OQ-WYZ\\`-~])
    """,
    re.VERBOSE,
)
_INCOMPLETE = re.compile(rb"\x1b(?:\[[<-?]*[0-9:;]*[ -/]*|[ -/]*)?\Z")
_STRING_END = re.compile(rb"\x07|\x1b\\|[\x18\x1a]")
_LONGEST = 256  # bytes of a sequence that is waited for
_ORIGIN, _MARGINS = 6, 69
_SAVE = 1048  # 1049 saves too, but where no other sequence does
_SCREENS = frozenset({47, 1047, 1049})
_SAVING_SCREEN = 1049
_ERASING = frozenset({3, *_SCREENS})
_NEVER_SAVED = b"\x1b[?6l\x1b[m\x0f\x1b(B\x1b[H"
"""What restoring a cursor does that the program has not saved: that which is saved may be ours."""
_RESET = b"\x1b[m\x0f\x1b(B"


class ReservedRow:
    """``columns`` and ``rows`` are the terminal's. It begins with an empty screen: what was there scrolls away."""

    def __init__(self, columns: int, rows: int) -> None:
        from irosh.services.shell.persistent.model import TerminalModel  # late: it is seldom wanted

        self._columns, self._rows = columns, rows
        self._model = TerminalModel(columns, rows - 1)
        self._kept = b""
        self._in_string = False
        self._region = (1, rows - 1)
        self._saved = False
        self._alternate = False  # which screen is shown
        self._main_saved = False  # the program has saved a cursor to come back to on the main screen
        self._forbidding: set[int] = set()  # modes in which positions mean something else
        self._placed = True  # whether the model knows where the cursor is
        self.stale = True
        """The row does not show what it did."""

    @property
    def program_rows(self) -> int:
        """Of the terminal as the program knows it."""
        return self._rows - 1

    def begin(self) -> bytes:
        """What makes a terminal ready."""
        return b"\x1b[r\x1b[%d;1H" % self._rows + b"\n" * self._rows + self._set_region()

    def end(self) -> bytes:
        """What gives the row back. The cursor stays."""
        return b"\x1b7\x1b[r\x1b[%d;1H\x1b[m\x1b[2K\x1b8" % self._rows

    def again(self) -> bytes:
        """After :meth:`end`, and after somebody else wrote to the terminal."""
        self._region = (1, self.program_rows)
        self.stale, self._placed = True, False
        return b"\n\x1b[A\x1b7" + self._set_region() + b"\x1b8"

    def resize(self, columns: int, rows: int) -> bytes:
        """The terminal has another size, and has moved what it shows; the old row is erased where it is now."""
        below = self.program_rows - self._model.catch_up().cursor.y
        erase = b"\x1b[%dB\r\x1b[2K\x1b8" % below if self._placed and not self._saved else b""
        self._columns, self._rows = columns, rows
        self._model.resize(columns, rows - 1)
        self._region = (1, rows - 1)
        self.stale, self._placed = True, False
        # The region goes first, so that the old row can be reached; then the cursor, if it is where the new row is.
        return b"\x1b7\x1b[r\x1b8" + erase + b"\n\x1b[A\x1b7" + self._set_region() + b"\x1b8"

    def show(self, line: str) -> bytes:
        """Write ``line`` to the row; nothing if that cannot be done now: it stays :attr:`stale`."""
        self.stale = True
        if self._in_string or self._kept or self._forbidding:
            return b""
        text = line[: self._columns - 1].encode("ascii", "replace")
        written = _RESET + b"\x1b[%d;1H\x1b[7m" % self._rows + text + b"\x1b[m\x1b[K"
        if not self._saved:
            self.stale = False
            return b"\x1b7" + self._set_region() + written + b"\x1b8"
        back = _back(self._model.catch_up()) if self._placed else None
        if back is None:
            return b""
        self.stale = False
        return self._set_region() + written + back

    def feed(self, data: bytes) -> bytes:
        """The program's output as the terminal shall have it. What is incomplete at its end comes with the next."""
        self._model.add(data)
        if not self._kept and not self._in_string and b"\x1b" not in data:
            return self._whole_characters(data)
        data, self._kept = self._kept + data, b""
        parts: list[bytes] = []
        position = 0
        while position < len(data):
            if self._in_string:
                position = self._string(data, position, parts)
                continue
            match = _TOKEN.match(data, position)
            if match is None:
                if _INCOMPLETE.match(data, position) and len(data) - position < _LONGEST:
                    self._kept = data[position:]
                    break
                parts.append(data[position : position + 1])
                position += 1
                continue
            position = match.end()
            kind = match.lastgroup
            if kind == "plain":
                text = match[0]
                parts.append(self._whole_characters(text) if position == len(data) else text)
            elif kind == "string":
                self._in_string = True
                parts.append(match[0])
            elif kind == "escape":
                parts.append(self._escape(match[0], match["escape"]))
            else:
                parts.append(self._sequence(match))
        return b"".join(parts)

    def _string(self, data: bytes, position: int, parts: list[bytes]) -> int:
        """A string for the terminal's own use, as far as it has come."""
        found = _STRING_END.search(data, position)
        if found is not None:
            self._in_string = False
            parts.append(data[position : found.end()])
            return found.end()
        end = len(data) - data.endswith(b"\x1b")
        parts.append(data[position:end])
        self._kept = data[end:]
        return len(data)

    def _whole_characters(self, text: bytes) -> bytes:
        """``text`` without a character of UTF-8 that is cut off at its end, which waits for the rest."""
        for back in range(1, min(4, len(text) + 1)):
            byte = text[-back]
            if byte >= 0xC0:
                length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
                if back < length:
                    self._kept = text[-back:]
                    return text[:-back]
                break
            if byte < 0x80:
                break
        return text

    def _escape(self, whole: bytes, escape: bytes) -> bytes:
        if escape == b"7":
            self._saved = True
        elif escape == b"8":
            return whole if self._saved else _NEVER_SAVED
        elif escape == b"c":
            self._forbidding.clear()
            self._saved = self._alternate = False
            self._placed = True
            return whole + self._whole_region()
        elif escape == b"#8":
            self._placed = True
            return whole + self._whole_region()
        return whole

    def _sequence(self, match: re.Match[bytes]) -> bytes:
        whole, final = match[0], match["final"]
        prefix, between = match["prefix"], match["between"]
        if prefix == b"?" and not between and final in b"hl":
            return whole + self._modes(match["parameters"], on=final == b"h")
        if between == b"!" and final == b"p":
            self._forbidding.clear()
            self._saved = False
            return whole + b"\x1b7" + self._whole_region() + b"\x1b8"
        elif prefix or between:
            pass
        elif final == b"r":
            return self._scroll_region(match["parameters"])
        elif final in b"Hfd":
            self._placed = True
            return self._position(match["parameters"], final)
        elif final == b"J" and match["parameters"] in (b"", b"0", b"2"):
            self.stale = True
        elif final == b"s" and not match["parameters"] and _MARGINS not in self._forbidding:
            self._saved = True
        elif final == b"u" and not match["parameters"]:
            return whole if self._saved else _NEVER_SAVED
        return whole

    def _modes(self, parameters: bytes, *, on: bool) -> bytes:
        """Returns what is to be written besides."""
        besides = b""
        for number in _numbers(parameters):
            if number in (_ORIGIN, _MARGINS):
                (self._forbidding.add if on else self._forbidding.discard)(number)
            if number == _SAVE:
                besides = b"" if on or self._saved else _NEVER_SAVED
                self._saved = self._saved or on
            if number in _ERASING:
                self.stale = True
            if number in _SCREENS and on != self._alternate:
                self._alternate = on
                if on:
                    self._main_saved = self._saved or number == _SAVING_SCREEN
                elif number == _SAVING_SCREEN and not self._main_saved:
                    besides = _NEVER_SAVED
        return besides

    def _scroll_region(self, parameters: bytes) -> bytes:
        numbers = [*_numbers(parameters), 0, 0]
        top, bottom = numbers[0] or 1, min(numbers[1] or self.program_rows, self.program_rows)
        if top < bottom:
            self._region = (top, bottom)
            self._placed = True
        return b"\x1b[%d;%dr" % (top, bottom)

    def _position(self, parameters: bytes, final: bytes) -> bytes:
        row, semicolon, rest = parameters.partition(b";")
        if row.isdigit() and int(row[:6]) > self.program_rows:
            row = b"%d" % self.program_rows
        return b"\x1b[" + row + semicolon + rest + final

    def _whole_region(self) -> bytes:
        self._region = (1, self.program_rows)
        self.stale = True
        return self._set_region()

    def _set_region(self) -> bytes:
        return b"\x1b[%d;%dr" % self._region


def _numbers(parameters: bytes) -> list[int]:
    return [int(part[:6]) if part.isdigit() else 0 for part in parameters.split(b";")]


def _back(screen: Screen) -> bytes | None:
    """What brings the cursor back to where the program has it; None where it waits behind the last column."""
    from pyte import charsets

    cursor: Any = screen.cursor
    if cursor.x >= screen.columns or screen.charset or screen.g0_charset is not charsets.LAT1_MAP:
        return None
    return f"\x1b[{cursor.y + 1};{cursor.x + 1}H{cursor.attrs.style.sequence()}".encode()
