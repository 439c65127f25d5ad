"""What stands in one place of the screen, and how to tell a terminal. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

_FLAGS = {1: "bold", 2: "faint", 3: "italic", 4: "underline", 5: "blink", 7: "reverse", 8: "hidden", 9: "struck"}
_ENDS = {
    21: ("underline",),  # double underline in ECMA-48; close enough
    22: ("bold", "faint"),
    23: ("italic",),
    24: ("underline",),
    25: ("blink",),
    27: ("reverse",),
    28: ("hidden",),
    29: ("struck",),
}


class Style(NamedTuple):
    """How a character looks. Colours are the parameters of SGR that choose them, empty for the default."""

    foreground: str = ""
    background: str = ""
    bold: bool = False
    faint: bool = False
    italic: bool = False
    underline: bool = False
    blink: bool = False
    reverse: bool = False
    hidden: bool = False
    struck: bool = False

    def sequence(self) -> str:
        """The SGR sequence that gives this look, whatever was before."""
        codes = [str(code) for code, name in _FLAGS.items() if getattr(self, name)]
        return f"\x1b[{';'.join(['0', *codes, *filter(None, (self.foreground, self.background))])}m"

    def changed(self, parameters: Sequence[Sequence[int]]) -> Style:
        """After SGR (ECMA-48 8.3.117, with the colours of xterm and of ISO 8613-6)."""
        if not parameters:
            return PLAIN
        style = self
        position = 0
        while position < len(parameters):
            code, *further = parameters[position]
            position += 1
            if code in (38, 48, 58):
                colour, taken = _colour(further, parameters[position:])
                position += taken
                if colour and code != 58:
                    style = style._with_colour(code, f"{code};{colour}")
            else:
                style = style._after(code, further)
        return style

    def _after(self, code: int, further: Sequence[int]) -> Style:
        if code in (0, -1):
            return PLAIN
        if code == 4 and further:
            return self._replace(underline=further[0] != 0)
        if code in _FLAGS:
            return self._with({_FLAGS[code]: True})
        if code == 21:
            return self._replace(underline=True)
        if code in _ENDS:
            return self._with(dict.fromkeys(_ENDS[code], False))
        if 30 <= code <= 37 or 90 <= code <= 97:
            return self._replace(foreground=str(code))
        if 40 <= code <= 47 or 100 <= code <= 107:
            return self._replace(background=str(code))
        if code == 39:
            return self._replace(foreground="")
        if code == 49:
            return self._replace(background="")
        return self

    def _with(self, flags: Mapping[str, bool]) -> Style:
        return self._replace(**flags)  # type: ignore[arg-type]

    def _with_colour(self, code: int, colour: str) -> Style:
        return self._replace(foreground=colour) if code == 38 else self._replace(background=colour)

    @property
    def erased(self) -> Style:
        """What erasing leaves behind: the background colour (bce in terminfo)."""
        return Style(background=self.background) if self.background else PLAIN


PLAIN = Style()


def _colour(within: Sequence[int], behind: Sequence[Sequence[int]]) -> tuple[str, int]:
    """``5;n`` or ``2;r;g;b``, and how many of the parameters ``behind`` belong to it."""
    if within:  # 38:5:n, 38:2::r:g:b or 38:2:r:g:b
        values = [value for value in within[1:] if value >= 0]
        numbers, taken = [within[0], *(values[:1] if within[0] == 5 else values[-3:])], 0
    else:
        wanted = {5: 2, 2: 4}.get(behind[0][0], 1) if behind else 0
        numbers, taken = [field[0] for field in behind[:wanted]], wanted
    if len(numbers) != {5: 2, 2: 4}.get(numbers[0] if numbers else 0) or not all(0 <= n <= 255 for n in numbers):
        return "", taken
    return ";".join(map(str, numbers)), taken


class Cell(NamedTuple):
    """One place. ``data`` is empty in the right half of a wide character."""

    data: str
    style: Style


BLANK = Cell(" ", PLAIN)


class _CellsOf(dict[str, Cell]):
    """The cells of one style by their character."""

    def __init__(self, style: Style) -> None:
        self._style = style

    def __missing__(self, character: str) -> Cell:
        if len(self) > 4096:
            self.clear()
        cell = self[character] = Cell(character, self._style)
        return cell


class CellTable(dict[Style, _CellsOf]):
    """The cells that have been used, by style and character, so that equal ones are one."""

    def __missing__(self, style: Style) -> _CellsOf:
        if len(self) > 256:
            self.clear()
        cells = self[style] = _CellsOf(style)
        return cells


def line_bytes(cells: Iterable[Cell]) -> bytes:
    """The line from its beginning, for a terminal whose look is plain; it is plain again behind it.

    Blanks at the end are left out.
    """
    row = list(cells)
    while row and row[-1] == BLANK:
        row.pop()
    parts: list[str] = []
    style = PLAIN
    for cell in row:
        if cell.style is not style and cell.style != style:
            style = cell.style
            parts.append(style.sequence() if style != PLAIN else "\x1b[m")
        parts.append(cell.data)
    if style != PLAIN:
        parts.append("\x1b[m")
    return "".join(parts).encode()
