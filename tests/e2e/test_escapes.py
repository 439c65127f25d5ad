"""Escapes, typed in a terminal against a live session and seen on the screen."""

from __future__ import annotations

import os
import re
import signal
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from irosh.core.escapes import DEFAULT_ESCAPE, Escape, help_lines
from tests.e2e.shells import PROMPT, ready, shell
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.processes import processes_with, wait_until
from tests.lab.requirements import requires, requires_netns
from tests.lab.routed import routed
from tests.lab.servers import TIMEOUT
from tests.lab.terminal import Terminal

pytestmark = requires("tmux")

QUICK = 5.0
"""Seconds within which a session must be left, on a busy machine."""


@contextmanager
def local_shell(pair: Pair, directory: Path, *options: str) -> Iterator[Terminal]:
    """A shell of the client's machine in which ``irosh connect`` is the foreground job, with its remote shell ready."""
    with Terminal.open(LOCAL, directory, "bash", "--norc", "-i") as terminal:
        terminal.type("PS1='local> '")
        terminal.type(" ".join((*pair.client.command, "connect", *options, PEER)))
        ready(terminal)
        yield terminal


def test_terminate(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path) as terminal:
        terminal.press("~", ".")
        screen = terminal.wait_for("irosh: connection to box closed")
        assert f"{PROMPT}~.\n" in screen
        assert terminal.wait_exit() == 255


def test_terminate_while_the_terminal_takes_nothing(loopback_pair: Pair) -> None:
    client = loopback_pair.client
    emulator, terminal = os.openpty()
    modes = termios.tcgetattr(terminal)
    session = LOCAL.popen(
        *client.command, "connect", "-t", PEER, "yes", stdin=terminal, stdout=terminal, stderr=terminal
    )
    try:
        assert b"y\r\n" in os.read(emulator, 4096)
        os.write(emulator, b"\r~?\r~.")  # nobody reads what the flood fills it with
        assert session.wait(TIMEOUT) == 255
        assert termios.tcgetattr(terminal) == modes
    finally:
        session.kill()
        session.wait()
        os.close(terminal)
        os.close(emulator)


def test_nothing_inside_a_line(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path) as terminal:
        terminal.type("echo a~. b~? $((6 * 7))")
        terminal.wait_for("a~. b~? 42")


def test_twice_for_the_character_itself(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path) as terminal:
        terminal.press("~", "~")
        terminal.wait_for(f"{PROMPT}~")
        terminal.type("/nowhere")
        terminal.wait_for("/nowhere: No such file")


def test_help(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=120) as terminal:
        terminal.press("~", "?")
        screen = terminal.wait_for("(Note that")
        lines = [line.rstrip() for line in screen.splitlines()]
        first = lines.index(f"{PROMPT}~?")
        expected = help_lines(DEFAULT_ESCAPE, {Escape.DETACH: "it does not stay"})
        assert [line.partition(" (not")[0] for line in lines[first + 1 : first + 1 + len(expected)]] == expected


def test_another_character_and_none(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, "-e", "^]") as terminal:
        terminal.press("~", "?")
        terminal.wait_for(f"{PROMPT}~?")
        terminal.press("C-u", "Enter", "C-]", "?")
        terminal.wait_for(" ^]^Z  - suspend irosh")
    with shell(loopback_pair, tmp_path, "-enone") as terminal:
        terminal.press("~", ".")
        terminal.wait_for(f"{PROMPT}~.")
        terminal.press("C-u")
        terminal.type("echo still $((6 * 7))")
        terminal.wait_for("still 42")


def test_break(loopback_pair: Pair, tmp_path: Path) -> None:
    marker = f"300.{os.getpid()}"
    with shell(loopback_pair, tmp_path) as terminal:
        terminal.type(f"sleep {marker}")
        wait_until(lambda: processes_with(marker), what="sleep runs")
        terminal.press("~", "B")
        wait_until(lambda: not processes_with(marker), what="the break has interrupted it")
        assert "~B\n" in terminal.screen()
        terminal.type("echo left with $?")
        terminal.wait_for("left with 130")


def test_rekey(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path) as terminal:
        terminal.press("~", "R")
        terminal.wait_for("~R [new keys]")
        terminal.press("~", "R")
        wait_until(lambda: terminal.screen().count("~R [new keys]") == 2, what="and once more")
        terminal.type("seq 1 100000 | sha256sum; echo still $((6 * 7))")
        terminal.wait_for("still 42")


def test_verbosity(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        for level in ("INFO", "DEBUG", "DEBUG2"):
            terminal.press("~", "v")
            terminal.wait_for(f"~v [LogLevel {level}]")
        terminal.press("~", "B")
        screen = terminal.wait_for("msec break")  # says the SSH library
        assert re.search(r"^\d{4}-\d\d-\d\d .* INFO asyncssh: ", screen, re.MULTILINE), "each line begins at the left"
        for level in ("DEBUG", "INFO", "WARNING", "QUIET"):
            terminal.press("~", "V")
            terminal.wait_for(f"~V [LogLevel {level}]")


def test_verbosity_of_a_node_in_another_process(loopback_pair: Pair, tmp_path: Path) -> None:
    with loopback_pair.client.start("connect", PEER, "sleep 100") as other:
        other.wait_event("connected")
        with shell(loopback_pair, tmp_path, columns=150) as terminal:
            terminal.press("~", "v")
            terminal.wait_for(f"~v [not available: process {other.pid} has the connection")
            terminal.press("~", "?")
            terminal.wait_for(f"~V/v - decrease/increase verbosity (not available: process {other.pid}")
            terminal.press("~", ".")
            assert terminal.wait_exit() == 255
        assert other.running, "only this session was terminated"


def test_terminate_ends_the_sessions_that_share_the_connection(loopback_pair: Pair, tmp_path: Path) -> None:
    with (
        shell(loopback_pair, tmp_path) as terminal,
        loopback_pair.client.start("connect", PEER, "sleep 100") as other,
    ):
        other.wait_event("connected")
        terminal.press("~", ".")
        assert terminal.wait_exit() == 255
        assert other.wait_failure()["code"] == "connection-lost"


def test_suspend(loopback_pair: Pair, tmp_path: Path) -> None:
    with local_shell(loopback_pair, tmp_path) as terminal:
        terminal.press("~", "C-z")
        screen = terminal.wait_for("Stopped")
        assert "~^Z [suspend irosh]\n" in screen
        terminal.type("stty -a | grep -o ' icanon'; echo here $((6 * 7))")
        screen = terminal.wait_for("here 42")
        assert "\n icanon\n" in screen, "the terminal was given back"
        terminal.resize(70, 20)
        terminal.type("fg")
        terminal.type("stty size; echo back $((6 * 7))")
        screen = terminal.wait_for("back 42")
        assert "20 70\n" in screen
        terminal.press("~", ".")
        terminal.wait_for("connection to box closed")
        terminal.type("echo status $?")
        terminal.wait_for("status 255")


def test_stopped_from_elsewhere(loopback_pair: Pair, tmp_path: Path) -> None:
    with local_shell(loopback_pair, tmp_path) as terminal:
        (waiting,) = terminal.children()
        (working,) = terminal.children(waiting)
        os.kill(working, signal.SIGTSTP)
        terminal.wait_for("Stopped")
        terminal.type("fg")
        wait_until(lambda: not terminal.takes_signals(), what="irosh has the keyboard again")
        terminal.type("echo still $((6 * 7))")
        terminal.wait_for("still 42")


@pytest.mark.netns
@requires_netns()
@pytest.mark.parametrize("how", ["cut", "silent"])
def test_terminate_while_there_is_no_connection(tmp_path: Path, how: str) -> None:
    with routed(tmp_path) as (pair, place), shell(pair, tmp_path, columns=150) as terminal:
        if how == "cut":
            place.client_link.down()
            wait_until(lambda: "connection lost" in terminal.title(), timeout=60, what="the loss is noticed")
        else:
            place.router.drop_udp(place.host, place.client)
        terminal.type("into the void")
        terminal.press("~", "?")
        terminal.wait_for("(Note that")
        began = time.monotonic()
        terminal.press("~", ".")
        assert terminal.wait_exit() == 255
        assert time.monotonic() - began < QUICK
        assert "connection to box closed" in terminal.screen()


@pytest.mark.netns
@requires_netns()
def test_terminate_behind_a_long_paste_into_the_void(tmp_path: Path) -> None:
    with routed(tmp_path) as (pair, place), shell(pair, tmp_path) as terminal:
        terminal.type("sleep 1000")
        place.router.drop_udp(place.host, place.client)
        for _ in range(40):
            terminal.type("x" * 5000)
        began = time.monotonic()
        terminal.press("Enter", "~", ".")
        assert terminal.wait_exit() == 255
        assert time.monotonic() - began < QUICK


def test_background_with_nothing_under_way(loopback_pair: Pair, tmp_path: Path) -> None:
    with local_shell(loopback_pair, tmp_path) as terminal:
        terminal.press("~", "&")
        screen = terminal.wait_for("\nlocal>\n")
        assert f"{PROMPT}~& [backgrounded]\n" in screen
        terminal.type("echo here $? $((6 * 7)); jobs")
        terminal.wait_for("here 0 42")
        client = loopback_pair.client
        wait_until(lambda: not client.control_socket.exists(), what="the command has ended in the background")


def test_background_while_a_program_runs(loopback_pair: Pair, tmp_path: Path) -> None:
    marker = f"300.{os.getpid()}"
    with local_shell(loopback_pair, tmp_path) as terminal:
        terminal.type(f"sleep {marker}")
        wait_until(lambda: processes_with(marker), what="sleep runs")
        terminal.press("~", "&")
        terminal.wait_for("\nlocal>\n")
        wait_until(lambda: not processes_with(marker), what="it is hung up")
        wait_until(lambda: not loopback_pair.client.control_socket.exists(), what="the command has ended")


def test_the_waiting_process_passes_on_what_it_is_sent(loopback_pair: Pair, tmp_path: Path) -> None:
    with local_shell(loopback_pair, tmp_path) as terminal:
        (waiting,) = terminal.children()
        (working,) = terminal.children(waiting)
        os.kill(waiting, signal.SIGTERM)
        terminal.wait_for("\nlocal>\n")
        terminal.type("echo status $?; stty -a | grep -o ' icanon'")
        screen = terminal.wait_for("\n icanon")
        assert "status 130" in screen
        assert not Path(f"/proc/{working}").exists()


def test_the_waiting_process_is_killed(loopback_pair: Pair, tmp_path: Path) -> None:
    with local_shell(loopback_pair, tmp_path) as terminal:
        (waiting,) = terminal.children()
        (working,) = terminal.children(waiting)
        os.kill(waiting, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{working}").exists(), what="the other has ended too")
        terminal.type("echo status $?; stty -a | grep -o ' icanon'")
        screen = terminal.wait_for("\n icanon")
        assert "status 137" in screen
