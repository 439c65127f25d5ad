"""What each token of a program's output does to the screen. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pyte import charsets

from irosh.services.shell.persistent.screen import Screen
from irosh.services.shell.persistent.sequences import CSI, OSC, Control, Escape, Text, Token
from irosh.services.shell.persistent.terminal_settings import Extras

_LONGEST_TITLE = 256
_KEYBOARD_STACK = 16


def apply(screen: Screen, token: Token) -> None:
    """Do what ``token`` says; what is unknown does nothing."""
    if isinstance(token, Text):
        screen.draw(token.text)
    elif isinstance(token, Control):
        if (control := _CONTROLS.get(token.character)) is not None:
            control(screen)
    elif isinstance(token, CSI):
        _csi(screen, token)
    elif isinstance(token, Escape):
        _escape(screen, token)
    else:
        _osc(screen, token)


_CONTROLS: Mapping[str, Callable[[Screen], object]] = {
    "\b": Screen.backspace,
    "\t": Screen.tab,
    "\n": Screen.linefeed,
    "\v": Screen.linefeed,
    "\f": Screen.linefeed,
    "\r": Screen.carriage_return,
    "\x0e": Screen.shift_out,
    "\x0f": Screen.shift_in,
}

_PLAIN: Mapping[str, Callable[[Screen, CSI], object]] = {
    "@": lambda screen, csi: screen.insert_characters(csi.first(1)),
    "A": lambda screen, csi: screen.cursor_up(csi.first(1)),
    "B": lambda screen, csi: screen.cursor_down(csi.first(1)),
    "C": lambda screen, csi: screen.cursor_forward(csi.first(1)),
    "D": lambda screen, csi: screen.cursor_back(csi.first(1)),
    "E": lambda screen, csi: screen.cursor_down1(csi.first(1)),
    "F": lambda screen, csi: screen.cursor_up1(csi.first(1)),
    "G": lambda screen, csi: screen.cursor_to_column(csi.first(1)),
    "H": lambda screen, csi: screen.cursor_position(csi.first(1), csi.at(1, 1)),
    "I": lambda screen, csi: screen.forward_tab(csi.first(1)),
    "J": lambda screen, csi: screen.erase_in_display(csi.first()),
    "K": lambda screen, csi: screen.erase_in_line(csi.first()),
    "L": lambda screen, csi: screen.insert_lines(csi.first(1)),
    "M": lambda screen, csi: screen.delete_lines(csi.first(1)),
    "P": lambda screen, csi: screen.delete_characters(csi.first(1)),
    "S": lambda screen, csi: screen.scroll_up(csi.first(1)),
    "T": lambda screen, csi: screen.scroll_down(csi.first(1)),
    "X": lambda screen, csi: screen.erase_characters(csi.first(1)),
    "Z": lambda screen, csi: screen.back_tab(csi.first(1)),
    "`": lambda screen, csi: screen.cursor_to_column(csi.first(1)),
    "a": lambda screen, csi: screen.cursor_forward(csi.first(1)),
    "b": lambda screen, csi: screen.repeat(csi.first(1)),
    "d": lambda screen, csi: screen.cursor_to_line(csi.first(1)),
    "e": lambda screen, csi: screen.cursor_down(csi.first(1)),
    "f": lambda screen, csi: screen.cursor_position(csi.first(1), csi.at(1, 1)),
    "g": lambda screen, csi: screen.clear_tab_stop(csi.first()),
    "h": lambda screen, csi: screen.set_mode(*_numbers(csi)),
    "l": lambda screen, csi: screen.reset_mode(*_numbers(csi)),
    "r": lambda screen, csi: _margins(screen, csi),
    "s": lambda screen, csi: screen.save_cursor(),
    "u": lambda screen, csi: screen.restore_cursor(),
}


def _csi(screen: Screen, csi: CSI) -> None:
    if csi.final == "m" and not csi.between:
        if not csi.prefix:
            screen.style = screen.style.changed(csi.parameters)
        elif csi.prefix == ">":
            screen.extras.modify_keys = ";".join(map(str, _numbers(csi)))
    elif csi.prefix == "?" and csi.final in "hl" and not csi.between:
        (screen.set_mode if csi.final == "h" else screen.reset_mode)(*_numbers(csi), private=True)
    elif csi.prefix and csi.final == "u":
        _keyboard(screen, csi)
    elif csi.between == " " and csi.final == "q":
        screen.extras.cursor_shape = min(csi.first(), 6)
    elif csi.between == "!" and csi.final == "p":
        _soft_reset(screen)
    elif not csi.prefix and not csi.between and (action := _PLAIN.get(csi.final)) is not None:
        action(screen, csi)


def _numbers(csi: CSI) -> list[int]:
    return [field[0] for field in csi.parameters if field[0] >= 0]


def _margins(screen: Screen, csi: CSI) -> None:
    top, bottom = csi.first(1), csi.at(1, screen.lines)
    if top == 1 and bottom >= screen.lines:
        screen.margins = None
        screen.cursor_position()
    elif top < bottom:
        screen.set_margins(top, bottom)


def _keyboard(screen: Screen, csi: CSI) -> None:
    stack = screen.extras.keyboard
    if csi.prefix == ">":
        stack.append(csi.first() & 31)
        del stack[:-_KEYBOARD_STACK]
    elif csi.prefix == "<":
        del stack[max(0, len(stack) - csi.first(1)) :]
    elif csi.prefix == "=":
        if not stack:
            stack.append(0)
        flags, how = csi.first() & 31, csi.at(1, 1)
        stack[-1] = flags if how == 1 else stack[-1] | flags if how == 2 else stack[-1] & ~flags


def _soft_reset(screen: Screen) -> None:
    screen.reset_mode(1, 6, private=True)
    screen.reset_mode(4)
    screen.set_mode(7, 25, private=True)
    screen.margins = None
    screen.extras = Extras()
    screen.saved = None
    screen.style = screen.style.changed(())
    screen.g0_charset, screen.charset = charsets.LAT1_MAP, 0


def _escape(screen: Screen, escape: Escape) -> None:
    if escape.between in ("(", ")"):
        screen.define_charset(escape.final, escape.between)
    elif escape.between == "#" and escape.final == "8":
        screen.margins = None  # DECALN gives them up (DEC STD 070)
        for y in range(screen.lines):
            screen.cursor_position(y + 1, 1)
            screen.draw("E" * screen.columns)
        screen.cursor_position()
    elif not escape.between:
        match escape.final:
            case "7":
                screen.save_cursor()
            case "8":
                screen.restore_cursor()
            case "D":
                screen.index()
            case "E":
                screen.index()
                screen.carriage_return()
            case "H":
                screen.set_tab_stop()
            case "M":
                screen.reverse_index()
            case "=" | ">":
                screen.extras.keypad = escape.final == "="
            case "c":
                screen.reset()


def _osc(screen: Screen, osc: OSC) -> None:
    number, _, text = osc.command.partition(";")
    if number in ("0", "2"):
        screen.title = "".join(c for c in text if c.isprintable())[:_LONGEST_TITLE]
