"""Sessions in terminals whose every byte is kept."""

from __future__ import annotations

from tests.lab.captured import CapturedTerminal
from tests.lab.processes import wait_until


def begin(terminal: CapturedTerminal) -> None:
    """A prompt of the shell to be relied on, and something to see."""
    terminal.type(
        "PS1='shell> '; printf '\\033[1;31mred\\033[m.\\033[5;20Hmiddle 中文\\033[9;1H'; echo ready $((40 + 2))"
    )
    terminal.wait_for("ready 42")


def ask(terminal: CapturedTerminal, line: str, expected: str) -> str:
    """Run a command of the prompt, which is open; returns what came, once there is what is ``expected``."""
    before = len(terminal.output())
    terminal.press(f"{line}\r".encode())

    def came() -> str:
        return terminal.output()[before:].decode(errors="replace")

    wait_until(lambda: expected in came(), what=f"{expected!r} comes of {line!r}")
    return came()


def open_prompt(terminal: CapturedTerminal) -> None:
    """``~C`` at the beginning of a line."""
    before = len(terminal.output())
    terminal.press(b"\r~C")
    wait_until(lambda: b"irosh>" in terminal.output()[before:], what="the prompt is there")


def same_screen(one: CapturedTerminal, other: CapturedTerminal) -> bool:
    """Whether both show the same, cell by cell, with the cursor at the same place."""
    first, second = one.screen(), other.screen()
    rows = range(first.lines)
    cells = [[[screen.buffer[y][x] for x in range(screen.columns)] for y in rows] for screen in (first, second)]
    cursors = [(screen.cursor.x, screen.cursor.y, screen.cursor.hidden) for screen in (first, second)]
    return cells[0] == cells[1] and cursors[0] == cursors[1]
