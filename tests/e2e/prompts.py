"""What is done at the prompt inside a session, ``~C``, and seen on the screen."""

from __future__ import annotations

from tests.lab.processes import wait_until
from tests.lab.terminal import Terminal

OURS = "irosh>"


def open_prompt(terminal: Terminal) -> None:
    """``~C`` at the beginning of a line, and the prompt is there."""
    before = terminal.screen().count(f"\n{OURS}")
    terminal.press("Enter", "~", "C")
    wait_until(lambda: terminal.screen().count(f"\n{OURS}") > before, what="the prompt is there")


def ask(terminal: Terminal, line: str, *expected: str) -> str:
    """Run a command of the prompt; returns the screen once it shows what is ``expected`` below the command."""

    def below() -> str:
        return terminal.screen().rpartition(f"\n{OURS} {line}\n")[2]

    terminal.type(line)
    for text in expected:
        wait_until(lambda text=text: text in below(), what=f"{text!r} comes of {line!r}")  # type: ignore[misc]
    return terminal.screen()
