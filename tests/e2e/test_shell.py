"""A shell and commands on another machine, across a router, without any relay."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path

import pytest

from tests.e2e.shells import shell
from tests.lab.irosh_process import Irosh
from tests.lab.pair import PEER, Pair
from tests.lab.processes import processes_with, wait_until
from tests.lab.requirements import find_program, requires, requires_netns

pytestmark = [pytest.mark.netns, requires_netns()]

BULK = 100_000_000


def test_a_ticket_is_enough_the_first_time_and_the_name_afterwards(routed_pair: Pair, tmp_path: Path) -> None:
    ticket = routed_pair.host.call("invite")["ticket"]
    newcomer = Irosh(routed_pair.client.machine, tmp_path / "newcomer")
    first = newcomer.run("connect", ticket, "echo by ticket", "--name", "ignored: this belongs to the command")
    assert first.stdout == b"by ticket --name ignored: this belongs to the command\n", first.stderr
    assert b"is pinned" in first.stderr
    (peer,) = newcomer.call("peer", "list")["peers"]
    again = newcomer.run("connect", peer["petname"], "echo by name")
    assert (again.returncode, again.stdout, again.stderr) == (0, b"by name\n", b"")


def test_the_path_is_direct(routed_pair: Pair) -> None:
    with routed_pair.client.start("connect", PEER, "cat", stdin=-1) as process:
        connected = process.wait_event("connected")
        assert connected["path"] == "direct"
        assert connected["new"] is False
        assert any(path["remote"].startswith("10.1.0.2:") for path in connected["paths"])


def test_the_exit_status_is_passed_on(routed_pair: Pair) -> None:
    assert routed_pair.client.run("connect", PEER, "exit 7").returncode == 7
    assert routed_pair.client.run("connect", PEER, "true").returncode == 0


def test_a_command_ended_by_a_signal_says_so(routed_pair: Pair) -> None:
    done = routed_pair.client.run("connect", PEER, "kill -KILL $$")
    assert done.returncode == 255
    assert b"signal KILL" in done.stderr


def test_standard_output_and_errors_stay_apart(routed_pair: Pair) -> None:
    done = routed_pair.client.run("connect", PEER, "echo out; echo err >&2; echo out again")
    assert (done.stdout, done.stderr) == (b"out\nout again\n", b"err\n")


def test_output_that_cannot_be_written_is_told(routed_pair: Pair) -> None:
    client = routed_pair.client
    script = shlex.join([*client.command, "connect", PEER, "echo out"]) + " > /dev/full"
    done = client.machine.run("sh", "-c", script, check=False)
    assert done.returncode == 255
    assert done.stderr == b"irosh: cannot write the output: No space left on device\n"


def test_streams_that_are_closed_take_nothing_and_give_nothing(routed_pair: Pair) -> None:
    client = routed_pair.client
    script = shlex.join([*client.command, "connect", PEER, "cat; echo out; echo err >&2; exit 7"]) + " <&- >&- 2>&-"
    assert client.machine.run("sh", "-c", script, check=False).returncode == 7


def test_bulk_data_passes_both_ways_unharmed(routed_pair: Pair, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    digest = hashlib.sha256()
    with sent.open("wb") as file:
        for _ in range(BULK // 1_000_000):
            chunk = os.urandom(1_000_000)
            digest.update(chunk)
            file.write(chunk)
    with sent.open("rb") as stdin:
        done = routed_pair.client.run("connect", PEER, "cat", stdin=stdin, timeout=150)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == BULK
    assert hashlib.sha256(done.stdout).digest() == digest.digest()


def test_a_command_gets_a_terminal_only_with_t(routed_pair: Pair) -> None:
    assert routed_pair.client.run("connect", PEER, "tty").stdout == b"not a tty\n"
    assert routed_pair.client.run("connect", "-t", PEER, "tty").stdout.startswith(b"/dev/pts/")


def test_a_shell_without_a_terminal_reads_commands(routed_pair: Pair) -> None:
    done = routed_pair.client.run("connect", "-T", PEER, stdin=b"tty\nexit 5\n")
    assert (done.returncode, done.stdout) == (5, b"not a tty\n")


def test_the_locale_is_passed_on_and_nothing_else(routed_pair: Pair) -> None:
    environment = {"LANG": "de_DE.UTF-8", "LC_TIME": "fr_FR.UTF-8", "SECRET_OF_THE_CLIENT": "x"}
    done = routed_pair.client.run(
        "connect", PEER, "echo $LANG $LC_TIME $SECRET_OF_THE_CLIENT.", environment=environment
    )
    assert done.stdout == b"de_DE.UTF-8 fr_FR.UTF-8 .\n"


@requires("tmux")
class TestInteractive:
    """In tmux, as a person would."""

    def test_typing_and_leaving_with_a_status(self, routed_pair: Pair, tmp_path: Path) -> None:
        with shell(routed_pair, tmp_path) as terminal:
            terminal.type("tty; echo TERM is $TERM")
            terminal.wait_for("TERM is tmux-256color")
            assert "/dev/pts/" in terminal.screen()
            terminal.type("exit 9")
            assert terminal.wait_exit() == 9

    def test_a_full_screen_editor(self, routed_pair: Pair, tmp_path: Path) -> None:
        editor = "vim -u NONE" if find_program("vim") else "vi -u NONE" if find_program("vi") else None
        if editor is None:
            pytest.skip("needs vim or vi: see tests/packages.sh")
        file = tmp_path / "poem.txt"
        file.write_text("".join(f"line {number} of the poem\n" for number in range(1, 21)))
        with shell(routed_pair, tmp_path) as terminal:
            terminal.type(f"cd {tmp_path} && {editor} {file.name}")  # a long path would be followed by a question
            screen = terminal.wait_for("line 20 of the poem")
            assert screen.startswith("line 1 of the poem\n")
            terminal.press("G", "o")
            terminal.type("added by hand")
            terminal.press("Escape")
            terminal.type(":wq")
            wait_until(lambda: "added by hand\n" in file.read_text(), what="the editor has written the file")
            terminal.type("echo back at $((6 * 7))")
            terminal.wait_for("back at 42")

    @requires("less")
    def test_a_pager(self, routed_pair: Pair, tmp_path: Path) -> None:
        file = tmp_path / "long.txt"
        file.write_text("".join(f"page line {number}\n" for number in range(1, 501)))
        with shell(routed_pair, tmp_path) as terminal:
            terminal.type(f"less {file}")
            terminal.wait_for("page line 29")
            terminal.press("G")
            screen = terminal.wait_for("page line 500")
            assert "page line 1\n" not in screen
            terminal.press("q")
            terminal.type("echo back at $((6 * 7))")
            terminal.wait_for("back at 42")

    def test_the_window_size_follows(self, routed_pair: Pair, tmp_path: Path) -> None:
        with shell(routed_pair, tmp_path, columns=91, rows=31) as terminal:
            terminal.type("stty size")
            terminal.wait_for("31 91")
            terminal.type("trap 'echo resized to $(stty size)' WINCH; echo trap $((1 + 1))")
            terminal.wait_for("trap 2")
            terminal.resize(72, 22)
            terminal.wait_for("resized to 22 72")

    def test_ctrl_c_interrupts_the_program_not_the_session(self, routed_pair: Pair, tmp_path: Path) -> None:
        marker = f"300.{os.getpid()}"
        with shell(routed_pair, tmp_path) as terminal:
            terminal.type(f"sleep {marker}")
            wait_until(lambda: processes_with(marker), what="sleep runs")
            terminal.press("C-c")
            wait_until(lambda: not processes_with(marker), what="sleep has ended")
            terminal.type("echo left with $?")
            terminal.wait_for("left with 130")
