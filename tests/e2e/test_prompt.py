"""``~C``: the prompt inside a session, typed in a terminal and seen on the screen."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from irosh.faces.cli.options import Settings
from irosh.faces.cli.prompt.load import HostLoad
from tests.e2e.prompts import OURS, ask, open_prompt
from tests.e2e.shells import shell
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires

pytestmark = requires("tmux")


@pytest.mark.parametrize("key", ["C-c", "C-d", "Enter"])
def test_there_and_back(loopback_pair: Pair, tmp_path: Path, key: str) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        ask(terminal, "help", "-KD[bind:]port", f"goes back to the session.\n{OURS}\n")  # Ctrl-C is for a command first
        terminal.press(key)
        terminal.type("echo back $((6 * 7)); stty -a | grep -o ' icanon'")
        screen = terminal.wait_for("back 42")
        assert f"\n{OURS} help\n" in screen


def test_everything_in_one_paste(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        terminal.paste("~Clpwd\r\recho back $((6 * 7))\r")
        screen = terminal.wait_for("back 42")
        assert f"\n{OURS} lpwd\n{os.getcwd()}\n" in screen


def test_history_editing_and_completion(loopback_pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "unique name.txt").write_text("x")
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        terminal.press("l", "c", "Tab")
        terminal.wait_for(f"\n{OURS} lcd")
        terminal.type(str(tmp_path))
        terminal.press(*"lls a", "Tab")
        terminal.wait_for(rf"{OURS} lls a\ folder/")
        terminal.press("u", "Tab")
        terminal.wait_for(rf"{OURS} lls a\ folder/unique\ name.txt")
        terminal.press("C-a", "C-k", "C-c")
        open_prompt(terminal)
        terminal.press("Up")
        terminal.wait_for(f"{OURS} lcd {tmp_path}")
        terminal.press("C-u", *"l", "Tab")
        assert "lls  lcd  lpwd" in terminal.wait_for("lpwd\n")
    with shell(loopback_pair, tmp_path, columns=150) as terminal:  # another session, another process
        open_prompt(terminal)
        terminal.press("Up")
        terminal.wait_for(f"{OURS} lcd {tmp_path}")


def test_completion_of_paths_there(loopback_pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "only there.bin").write_text("x")
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        terminal.press(*f"get {tmp_path}/onl")

        def completed() -> bool:
            return r"/only\ there.bin" in terminal.screen()

        terminal.press("Tab")
        try:
            wait_until(completed, timeout=5.0, what="the path is completed")
        except AssertionError:  # the host was slow to answer: the prompt waits two seconds for it, and asks again
            terminal.press("Tab")
            wait_until(completed, what="the path is completed")


CLOSING: dict[str, list[tuple[list[str], str]]] = {
    "idle": [],
    "completing": [(["Tab"], OURS)],
    "listing": [([*"get /", "Tab"], OURS)],
    "asking": [([*"get /usr/bin/", "Tab"], "Display all")],
    "paging": [([*"get /usr/bin/", "Tab"], "Display all"), (["y"], "--MORE--")],
}


@pytest.mark.parametrize("steps", CLOSING.values(), ids=CLOSING)
def test_the_terminal_is_closed(loopback_pair: Pair, tmp_path: Path, steps: list[tuple[list[str], str]]) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        for keys, shown in steps:
            terminal.press(*keys)
            terminal.wait_for(shown)
    # All that ran in it has ended now: see Terminal.


def test_the_session_ends_while_completions_are_paged(loopback_pair: Pair, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        terminal.type(f"(until test -e {go}; do sleep 0.1; done; kill -9 $$) &")
        open_prompt(terminal)
        terminal.press(*"get /usr/bin/", "Tab")
        terminal.wait_for("Display all")
        terminal.press("y")
        terminal.wait_for("--MORE--")
        go.touch()
        assert terminal.wait_exit() == 255


def test_files_here(loopback_pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "sub").mkdir()
    (tmp_path / "list" / "evil\x1b]0;owned\x07\nname").write_text("x" * 1234)
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        title = terminal.title()
        ask(terminal, f"lcd {tmp_path}/list")
        ask(terminal, "lpwd", f"{tmp_path}/list\n")
        screen = ask(terminal, "lls", "sub/")
        assert r"evil\x1b]0;owned\x07\nname" in screen
        ask(terminal, "lls -l", "1.2 kB")
        assert terminal.title() == title
        ask(terminal, "lcd nowhere", "nowhere: No such file or directory")
        ask(terminal, "lls 'open", "character 5: the ' is not closed")


def test_what_is_typed_while_a_command_runs_is_not_lost(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        terminal.paste("lpwd\rlls /\rstatus\rlpwd\r\x04echo back $((6 * 7))\r")
        screen = terminal.wait_for("back 42")
        assert screen.count(f"\n{OURS} lpwd\n{os.getcwd()}\n") == 2


def test_mistakes(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        ask(terminal, "statsu", "there is no command 'statsu'", "did you mean 'status'?")
        ask(terminal, "put -x a", "put has no option '-x'")
        ask(terminal, "put nowhere", "'nowhere': no such file here")
        ask(terminal, "cancel 5", "there is no transfer 5")


def test_status(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        screen = ask(terminal, "status", "loss")
        assert re.search(rf"\n{PEER}: direct  rtt .* ms  loss [0-9.]+%  out ", screen)


def test_what_the_session_prints_waits(loopback_pair: Pair, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        terminal.type(f"(until test -e {go}; do sleep 0.1; done; echo printed $((6 * 7)); touch {go}.done) &")
        open_prompt(terminal)
        terminal.press("l", "p")
        go.touch()
        wait_until((tmp_path / "go.done").exists, what="the remote program was not held up")
        terminal.press("w", "d", "Enter")
        screen = terminal.wait_for(f"\n{OURS} lpwd\n{os.getcwd()}\n{OURS}\n")
        assert "printed 42" not in screen
        terminal.press("Enter")
        terminal.wait_for("printed 42")


def test_much_output_is_shown_above_and_none_is_lost(loopback_pair: Pair, tmp_path: Path) -> None:
    go = tmp_path / "go"
    count = 600_000  # 4 MB
    with shell(loopback_pair, tmp_path, columns=150) as terminal, terminal.recorded(tmp_path / "record") as record:
        terminal.type(f"(until test -e {go}; do sleep 0.1; done; seq -f '<%.0f>' {count}; touch {go}.done) &")
        open_prompt(terminal)
        terminal.press("l", "p")
        go.touch()
        wait_until((tmp_path / "go.done").exists, what="the remote program was not held up")
        terminal.wait_for(f"\n{OURS} lp")
        terminal.press("w", "d", "Enter", "Enter")
        wait_until(lambda: f"<{count}>".encode() in record(), what="all of it is on the screen")
        numbers = [int(number) for number in re.findall(rb"<(\d+)>", record())]
        assert numbers == list(range(1, count + 1))
        terminal.type("echo back $((6 * 7))")
        terminal.wait_for("back 42")


def test_the_session_ends_while_the_prompt_is_open(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        terminal.type("PID=$$; (sleep 1; kill -HUP $PID) &")
        open_prompt(terminal)
        assert terminal.wait_exit() == 255
        assert "ended by signal HUP" in terminal.screen()


def test_a_signal_while_the_prompt_is_open(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        (waiting,) = terminal.children()
        os.kill(waiting, signal.SIGTERM)
        assert terminal.wait_exit() == 130


def test_the_size_follows(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        terminal.resize(71, 21)
        ask(terminal, "lpwd", os.getcwd())
        terminal.press("C-d")
        terminal.type("stty size")
        terminal.wait_for("21 71")


def test_the_command_line_can_be_forbidden(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, "-oEnableEscapeCommandline=no", "-oEscapeChar=%", columns=150) as terminal:
        terminal.press("%", "C")
        terminal.wait_for("%C [not available: it is turned off by -o EnableEscapeCommandline=no]")


def test_put_and_get(loopback_pair: Pair, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    data = os.urandom(3_000_000)
    (here / "some file.bin").write_bytes(data)
    (here / "tree").mkdir()
    (here / "tree" / "leaf").write_bytes(b"leaf")
    with shell(loopback_pair, tmp_path, columns=220) as terminal:
        open_prompt(terminal)
        ask(terminal, f"lcd {here}")
        terminal.press(*"put so", "Tab")
        terminal.wait_for(rf"{OURS} put some\ file.bin")
        terminal.type(str(there))
        terminal.wait_for("[1] put ")
        terminal.wait_for(": 3.0 MB in ")
        assert (there / "some file.bin").read_bytes() == data
        ask(terminal, f"put -r tree {there}", "[2] put ", ": 4 B in ")
        assert (there / "tree" / "leaf").read_bytes() == b"leaf"
        ask(terminal, f"get '{there}/some file.bin' copy.bin", "[3] get ", "MB in ")
        wait_until(lambda: (here / "copy.bin").exists(), what="it has arrived")
        assert (here / "copy.bin").read_bytes() == data
        ask(terminal, f"get {there}/nothing", "[4] get ", "No such file")
        ask(terminal, f"put tree {there}", "[5] put ", "folder")
        terminal.press("C-d")
        terminal.type("echo back $((6 * 7))")
        terminal.wait_for("back 42")


def test_how_busy_the_host_is(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.add_client(tmp_path / "client", allow=["shell", "telemetry"])
    with shell(replace(loopback_pair, client=client), tmp_path, columns=120) as terminal:
        open_prompt(terminal)
        load = re.compile(rf"{OURS} +{PEER}  cpu \d")
        wait_until(lambda: load.search(terminal.screen()), what="it is shown beside the prompt")
        ask(terminal, "lpwd", os.getcwd())


def test_a_host_that_does_not_tell_is_asked_once(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.add_client(tmp_path / "client", allow=["exec"])
    host_id = str(loopback_pair.host.call("identity", "show")["id"])
    with client.start("connect", PEER, "cat", stdin=-1) as process:
        process.wait_event("connected")
        load = HostLoad(Settings(state=client.state), host_id)
        for _ in range(3):
            load.begin()  # the prompt is open
            wait_until(lambda: not load.text(80) and not load.asks, what="it is not asked, or asked no more")
            load.end()
    own = client.call("identity", "show")["id"]
    mine = [each for each in loopback_pair.host.call("audit")["entries"] if each["peer"] == own]
    assert len([each for each in mine if "telemetry" in str(each)]) == 1, mine
