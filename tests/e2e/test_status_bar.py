"""The last row of the terminal shows how busy the host is; the rest is what the session shows without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import find_program, requires
from tests.lab.terminal import Terminal

pytestmark = requires("tmux", "less")

COLUMNS, ROWS = 100, 24
PROMPT = "PS1='prompt> '; PROMPT_COMMAND=; bind 'set enable-bracketed-paste off'; clear"

# A program that takes the whole screen, sets scroll regions, saves the cursor and restores it, without being told.
UNRULY = r"""
import os, sys, time
rows = os.get_terminal_size().lines
def say(text): sys.stdout.write(text); sys.stdout.flush()
say("\x1b[2J\x1b[H\x1b[1;31mtop\x1b[m\x1b7")
for number in range(60):
    say(f"\r\nline {number} of {rows}")
    if number % 7 == 0: say("\x1b[r\x1b[999;999H\x1b[2D<>")
    if number % 11 == 0: say("\x1b[3;9r\x1b[9;1H\n\n\n\x1b[r\x1b[999;1H")
    if number % 13 == 0: time.sleep(0.2)
say("\x1b8!\x1b[J\x1b[12;40Hin the middle\x1b[s\x1b[5;1H")
time.sleep(1.5)
say("\x1b[uand on\x1b[r\x1b[999;1Hdone")
time.sleep(2)
"""


@pytest.fixture(scope="module")
def telling_pair(loopback_pair: Pair) -> Pair:
    (peer,) = loopback_pair.host.call("peer", "list")["peers"]
    loopback_pair.host.call("peer", "allow", peer["petname"], "telemetry")
    return loopback_pair


@contextmanager
def session(pair: Pair, directory: Path, *options: str, rows: int) -> Iterator[Terminal]:
    directory.mkdir()
    command = (*pair.client.command, "connect", *options, PEER)
    with Terminal.open(LOCAL, directory, *command, columns=COLUMNS, rows=rows) as terminal:
        terminal.type("stty echo; echo ready $((40 + 2))")
        terminal.wait_for("ready 42")
        terminal.type(PROMPT)
        wait_until(lambda: lines(terminal)[0] == "prompt>", what="the screen is clear")
        yield terminal


def lines(terminal: Terminal) -> list[str]:
    return [line.rstrip() for line in terminal.screen().split("\n")]


@contextmanager
def both(pair: Pair, directory: Path) -> Iterator[tuple[Terminal, Terminal]]:
    """A session with the bar, and one without it on a terminal of one row less."""
    with (
        session(pair, directory / "with", "--status-bar", rows=ROWS) as barred,
        session(pair, directory / "without", rows=ROWS - 1) as plain,
    ):
        wait_until(lambda: "cpu" in lines(barred)[ROWS - 1], what="the bar shows the load")
        yield barred, plain


def same(barred: Terminal, plain: Terminal, mark: str) -> None:
    """Both show the same, with ``mark`` in it, but for the bar."""
    plain.wait_for(mark)
    barred.wait_for(mark)
    wait_until(
        lambda: lines(barred)[: ROWS - 1] == lines(plain)[: ROWS - 1],
        timeout=15,
        what=f"the screens are the same:\n{barred.screen()}\n---\n{plain.screen()}",
    )
    wait_until(lambda: lines(barred)[ROWS - 1].startswith(f"{PEER}  cpu "), what="the bar is there")


def test_a_shell_and_full_screen_programs(telling_pair: Pair, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("".join(f"line {number} of the text\n" for number in range(1, 301)))
    with both(telling_pair, tmp_path) as pair:
        for terminal in pair:
            terminal.type("seq 1 200; stty size")
        same(*pair, f"{ROWS - 1} {COLUMNS}")
        for terminal in pair:
            terminal.type(f"less {text}")
            terminal.wait_for("line 5 of")
            terminal.press("G", "b", "y", "y", "y")
        same(*pair, "line 254 of")
        for terminal in pair:
            terminal.press("q")
            terminal.wait_for(f"{ROWS - 1} {COLUMNS}")
            terminal.type("echo back $((6 * 7))")
        same(*pair, "back 42")
        if (editor := find_program("vim") or find_program("vi")) is not None:
            for terminal in pair:
                terminal.type(f"cd {tmp_path}; {editor} -n -u NONE text")  # a long path would not fit vim's last row
                terminal.wait_for("line 5 of")
                terminal.press("G", "o")
                terminal.type("by hand")
                terminal.press("Escape")
                terminal.press("C-b", "C-y", "C-y", "d", "d", "5", "C-e")
            same(*pair, "line 281 of")
            for terminal in pair:
                terminal.press("Escape")
                terminal.type(":q!")
                terminal.wait_for("back 42")  # what is typed before the editor has ended is lost
                terminal.type("echo again $((6 * 7))")
            same(*pair, "again 42")
        for terminal in pair:
            terminal.type("clear; printf 'a\\tb\\n'; stty size")
        same(*pair, f"{ROWS - 1} {COLUMNS}")


def test_a_program_that_does_what_it_likes_with_the_screen(telling_pair: Pair, tmp_path: Path) -> None:
    program = tmp_path / "unruly.py"
    program.write_text(UNRULY)
    with both(telling_pair, tmp_path) as pair:
        for terminal in pair:
            terminal.type(f"{sys.executable} {program}")
        same(*pair, "in the middleand on")
        for terminal in pair:
            terminal.wait_for("done")
            terminal.type("clear; echo back $((6 * 7))")
        same(*pair, "back 42")


def test_the_size_changes(telling_pair: Pair, tmp_path: Path) -> None:
    with session(telling_pair, tmp_path / "with", "--status-bar", rows=ROWS) as terminal:
        wait_until(lambda: "cpu" in lines(terminal)[ROWS - 1], what="the bar is there")
        for columns, rows in ((COLUMNS, ROWS + 8), (70, 14), (COLUMNS, ROWS)):
            terminal.resize(columns, rows)
            wait_until(lambda: "cpu" in lines(terminal)[rows - 1], what="the bar is on the last row")  # noqa: B023
            terminal.type("clear; stty size")
            terminal.wait_for(f"{rows - 1} {columns}")
            bars = [number for number, line in enumerate(lines(terminal)) if line.startswith(f"{PEER}  cpu")]
            assert bars == [rows - 1]


def test_no_second_bar_is_left_in_a_shell(telling_pair: Pair, tmp_path: Path) -> None:
    with session(telling_pair, tmp_path / "with", "--status-bar", rows=ROWS) as terminal:
        terminal.type("echo first $((40 + 2))")
        terminal.wait_for("first 42")
        wait_until(lambda: "cpu" in lines(terminal)[ROWS - 1], what="the bar is there")
        for rows in (ROWS + 6, ROWS - 6):
            terminal.resize(COLUMNS, rows)
            wait_until(lambda: "cpu" in lines(terminal)[rows - 1], what="the bar is on the last row")  # noqa: B023
            assert "first 42" in terminal.screen()
            assert terminal.screen().count(f"{PEER}  cpu") == 1
            terminal.type("clear; echo first $((40 + 2))")
            terminal.wait_for("first 42")


def test_it_is_gone_afterwards(telling_pair: Pair, tmp_path: Path) -> None:
    with session(telling_pair, tmp_path / "with", "--status-bar", rows=ROWS) as terminal:
        wait_until(lambda: "cpu" in lines(terminal)[ROWS - 1], what="the bar is there")
        terminal.type("exit 5")
        assert terminal.wait_exit() == 5
        assert "cpu" not in terminal.screen()


def test_without_consent_it_says_so(loopback_pair: Pair, tmp_path: Path) -> None:
    stranger = loopback_pair.add_client(tmp_path / "stranger")
    command = (*stranger.command, "connect", "--status-bar", PEER)
    (tmp_path / "terminal").mkdir()
    with Terminal.open(LOCAL, tmp_path / "terminal", *command, columns=COLUMNS, rows=ROWS) as terminal:
        wait_until(
            lambda: "may not use telemetry" in lines(terminal)[ROWS - 1], what="the bar says why it shows nothing"
        )
        terminal.type("exit")
        assert terminal.wait_exit() == 0
