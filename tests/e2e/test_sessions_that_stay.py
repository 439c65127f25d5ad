"""Detach and come back: sessions that live on the host, whoever is connected."""

from __future__ import annotations

import os
import pwd
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import processes_with, wait_until
from tests.lab.requirements import find_program, requires
from tests.lab.terminal import Terminal

EDITOR = next((f"{name} -u NONE" for name in ("vim", "vi") if find_program(name)), None)

SHELLS = ("/bin/bash", "/bin/sh", "/bin/dash")
OTHER_USER = next((each.pw_name for each in pwd.getpwall() if each.pw_uid and each.pw_shell in SHELLS), "")


@contextmanager
def at_session(client: Irosh, directory: Path, name: str, *, columns: int = 90, rows: int = 30) -> Iterator[Terminal]:
    """A terminal of the client at session ``name``, with its own directory."""
    own = directory / f"terminal-{time.monotonic_ns()}"
    own.mkdir()
    command = (*client.command, "connect", "--session", name, PEER)
    with Terminal.open(client.machine, own, *command, columns=columns, rows=rows) as terminal:
        yield terminal


@contextmanager
def shell(client: Irosh, directory: Path, name: str) -> Iterator[Terminal]:
    """The same, once a shell has greeted."""
    with at_session(client, directory, name) as terminal:
        terminal.type("PS1='prompt> '; echo ready $((40 + 2))")
        terminal.wait_for("ready 42")
        yield terminal


def sessions(client: Irosh) -> dict[str, dict[str, object]]:
    """The client's sessions on the host, by name."""
    return {each["name"]: each for each in client.call("session", "list", PEER)["sessions"]}


@requires("tmux")
@pytest.mark.skipif(EDITOR is None, reason="needs vim or vi: see tests/packages.sh")
def test_an_editor_is_on_the_screen_again_after_the_client_was_killed(loopback_pair: Pair, tmp_path: Path) -> None:
    text = tmp_path / "poem.txt"
    text.write_text("".join(f"line {number} of the poem\n" for number in range(1, 21)))
    client = loopback_pair.client
    with shell(client, tmp_path, "poem") as terminal:
        terminal.type(f"cd {tmp_path}; seq 100; {EDITOR} poem.txt")
        terminal.wait_for("line 20 of the poem")
        terminal.type(":set ruler")
        terminal.press("4", "j", "3", "l")
        terminal.wait_for("5,4")
        before = terminal.screen()
        for pid in processes_with("poem"):
            os.kill(pid, signal.SIGKILL)
        terminal.wait_for("Killed")
    with at_session(client, tmp_path, "poem") as terminal:
        wait_until(lambda: terminal.screen() == before, what="the screen is as it was")
        terminal.press("x", "Escape")
        terminal.type(":wq")
        terminal.wait_for("prompt>")
        assert text.read_text().splitlines()[4] == "lin 5 of the poem"  # the cursor was where it had been
        assert "\n100\n" in terminal.screen()  # the main screen was kept behind the editor's
        terminal.type("exit 7")
        assert terminal.wait_exit() == 7


@requires("tmux")
def test_the_scrollback_comes_back(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.client
    with shell(client, tmp_path, "scroll") as terminal:
        terminal.type("seq -f 'row %g' 300")
        terminal.wait_for("row 300")
    with at_session(client, tmp_path, "scroll") as terminal:
        terminal.wait_for("row 300")
        assert "row 5\n" in terminal.scrollback()
        assert terminal.scrollback().count("row 250\n") == 1
    client.call("session", "kill", PEER, "scroll")


@requires("tmux")
def test_the_escape_detaches_and_gives_the_terminal_back(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.client
    with shell(client, tmp_path, "leave") as terminal:
        terminal.type("printf '\\033[?1049h\\033[?1h\\033[?25l\\033[2J\\033[Hfull screen'; read x")
        terminal.wait_for("full screen")
        terminal.press("Enter")
        terminal.press("~", "d")
        terminal.wait_for("detached from session leave; it goes on")
        assert terminal.wait_exit() == 0
        assert "ready 42\n" in terminal.screen()  # the main screen is shown again
    assert sessions(client)["leave"]["attached"] == 0
    client.call("session", "kill", PEER, "leave")
    assert "leave" not in sessions(client)


@requires("tmux")
def test_two_terminals_of_the_owner_show_the_same(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.client
    with shell(client, tmp_path, "twice") as one, at_session(client, tmp_path, "twice") as two:
        two.wait_for("ready 42")
        two.type("echo from two $((1 + 1))")
        one.wait_for("from two 2")
        one.type("exit 3")
        assert one.wait_exit() == 3
        assert two.wait_exit() == 3


def test_the_exit_status_waits_for_who_asks_next(loopback_pair: Pair) -> None:
    client = loopback_pair.client
    with client.start("connect", "--session", "late", PEER, "echo begun; sleep 2; exit 5") as process:
        process.wait_event("session", created=True)
        client.call("session", "detach", PEER, "late")
        process.wait_event("over", reason="detached")
        assert process.wait_exit() == 0
    wait_until(lambda: "late" not in sessions(client), what="the program has ended")
    assert [each["status"] for each in client.call("session", "list", PEER)["ended"]] == [5]
    asked = client.run("connect", "--session", "late", PEER)
    assert asked.returncode == 5
    assert b"session late has ended with status 5" in asked.stderr
    assert client.failure("session", "attach", PEER, "late")["code"] == "session-unknown"


def test_a_session_that_is_killed_ends_with_its_program(loopback_pair: Pair) -> None:
    client = loopback_pair.client
    marker = f"400.{os.getpid()}"
    with client.start("connect", "--session", "killed", PEER, f"sleep {marker}") as process:
        wait_until(lambda: processes_with(marker), what="the program runs")
        client.call("session", "kill", PEER, "killed")
        process.wait_event("over", reason="killed")
        assert process.wait_exit() == 255
    wait_until(lambda: not processes_with(marker), what="the program has ended")


def test_there_is_a_limit_for_one_peer(loopback_pair: Pair) -> None:
    client = loopback_pair.client
    names = [f"many-{number}" for number in range(16)]
    for name in names:
        with client.start("connect", "--session", name, PEER, "sleep 300") as process:
            process.wait_event("session")
    with client.start("connect", "--session", "too-many", PEER, "sleep 300") as process:
        assert process.wait_failure()["code"] == "busy"
    for name in names:
        client.call("session", "kill", PEER, name)
    wait_until(lambda: not sessions(client), what="all have ended")


def test_another_peer_sees_and_gets_none_of_them(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.client
    other = loopback_pair.add_client(tmp_path / "other", allow=["shell", "exec"])
    with client.start("connect", "--session", "mine", PEER, "sleep 300") as process:
        process.wait_event("session")
        assert other.call("session", "list", PEER)["sessions"] == []
        assert other.failure("session", "attach", PEER, "mine")["code"] == "session-unknown"
        assert other.failure("session", "kill", PEER, "mine")["code"] == "session-unknown"
        here = loopback_pair.host.call("session", "list")["sessions"]
        assert [each["name"] for each in here] == ["mine"]
        loopback_pair.host.call("session", "kill", "mine")


@pytest.mark.parametrize("name", ["", "-x", "a b", "../x", "x" * 33, "é"])
def test_a_bad_name_is_refused(loopback_pair: Pair, name: str) -> None:
    assert loopback_pair.client.failure("session", "attach", PEER, name or "''")["code"] == "usage"


def test_revoking_ends_a_session_that_nobody_is_at(tmp_path: Path) -> None:
    with pinned_pair(tmp_path) as pair:
        marker = f"500.{os.getpid()}"
        with pair.client.start("connect", "--session", "gone", PEER, f"sleep {marker}") as process:
            process.wait_event("session")
        wait_until(lambda: processes_with(marker), what="the program goes on")
        (peer,) = pair.host.call("peer", "list")["peers"]
        pair.host.call("peer", "revoke", peer["petname"])
        wait_until(lambda: not processes_with(marker), what="the program has ended")
        assert pair.host.call("session", "list")["sessions"] == []


def test_without_the_capability_there_is_no_session(tmp_path: Path) -> None:
    with pinned_pair(tmp_path) as pair:
        guest = pair.add_client(tmp_path / "guest", allow=["exec"])
        with guest.start("connect", "--session", "shell", PEER) as process:
            assert process.wait_failure()["code"] == "denied"
        with guest.start("connect", "--session", "command", PEER, "sleep 300") as process:
            process.wait_event("session")
        nobody = pair.add_client(tmp_path / "nobody", allow=["files"])
        assert nobody.failure("session", "list", PEER)["code"] == "denied"


def test_a_host_that_was_restarted_says_that_the_sessions_are_gone(tmp_path: Path) -> None:
    host, client = Irosh(LOCAL, tmp_path / "host"), Irosh(LOCAL, tmp_path / "client")
    with host.start("host") as process:
        ticket = process.wait_event("ready")["ticket"]
        client.run("connect", "--name", PEER, ticket, "true")
        session = client.start("connect", "--session", "lost", PEER, "sleep 300")
        with session:
            session.wait_event("session")
            process.stop()
            failure = session.wait_failure()
            assert failure["code"] == "shutting-down"
            assert "its sessions have ended with it" in failure["hint"]
    with host.start("host") as process:
        process.wait_event("ready")
        ticket = host.call("invite")["ticket"]
        client.run("connect", ticket, "true")
        failure = client.failure("session", "attach", PEER, "lost")
        assert failure["code"] == "session-unknown"
        assert "sessions end with the host's irosh" in failure["hint"]


def test_a_flood_that_nobody_sees_does_no_harm(loopback_pair: Pair) -> None:
    client = loopback_pair.client
    with client.start("connect", "--session", "flood", PEER, "yes; exit 1") as process:
        process.wait_event("session")
        process.kill()
    begun = time.monotonic()
    assert client.run("connect", PEER, "echo quick").stdout == b"quick\n"
    assert time.monotonic() - begun < 10
    memory = loopback_pair.host_process.memory
    time.sleep(3)
    assert loopback_pair.host_process.memory - memory < 20_000_000
    client.call("session", "kill", PEER, "flood")


@pytest.mark.skipif(os.geteuid() != 0 or not OTHER_USER, reason="needs root, and another user with a shell")
def test_as_another_user_with_the_capability_and_no_longer_without(tmp_path: Path) -> None:
    with pinned_pair(tmp_path) as pair:
        target = f"{OTHER_USER}@{PEER}"
        with pair.client.start("connect", "--session", "other", target, "id -un; sleep 300") as process:
            assert process.wait_failure()["code"] == "denied"
        (peer,) = pair.host.call("peer", "list")["peers"]
        pair.host.call("peer", "allow", peer["petname"], f"user:{OTHER_USER}")
        with pair.client.start("connect", "--session", "other", target, "cd /; id -un; sleep 300") as process:
            wait_until(lambda: OTHER_USER in process.output(), what="it runs as the other user")
        assert sessions(pair.client)["other"]["user"] == OTHER_USER
        assert pair.client.failure("session", "attach", f"root@{PEER}", "other")["code"] == "usage"
        pair.host.call("peer", "allow", peer["petname"], "shell", "exec", "--replace")
        wait_until(lambda: not sessions(pair.client), what="the session has ended with the right to it")
