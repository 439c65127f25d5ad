"""``~C``: the prompt inside a session, typed in a terminal and seen on the screen."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from irosh.faces.cli.options import Settings
from irosh.faces.cli.prompt.load import HostLoad
from tests.e2e.shells import PROMPT, ready, shell
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires, requires_netns, requires_shaping
from tests.lab.routed import routed
from tests.lab.servers import TIMEOUT, echo, listens, tcp_server, unused_port
from tests.lab.terminal import Terminal

pytestmark = requires("tmux")

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


def test_nothing_to_list(loopback_pair: Pair, tmp_path: Path) -> None:
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        terminal.press("~", "#")
        screen = terminal.wait_for("connections are open")
        assert f"{PROMPT}~#\n" in screen


def fetch(port: int, times: int = 1) -> None:
    """Send some bytes through a forward to the echo, and have them back."""
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.sendall(b"through")
            connection.shutdown(socket.SHUT_WR)
            assert connection.makefile("rb").read() == b"through"


@contextmanager
def busy(port: int) -> Iterator[Callable[[], int]]:
    """Bytes go round a connection to ``port`` all the time; yields how many came back, and checks each of them."""
    stop = threading.Event()
    came = 0
    failures: list[BaseException] = []

    def carry() -> None:
        nonlocal came
        try:
            with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
                connection.settimeout(TIMEOUT)
                while not stop.is_set():
                    block = os.urandom(16_384)
                    connection.sendall(block)
                    back = b""
                    while len(back) < len(block):
                        back += connection.recv(65_536) or pytest.fail("the connection ended")
                    assert back == block
                    came += len(block)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        yield lambda: came
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


def test_each_forward_added_and_cancelled_under_traffic(loopback_pair: Pair, tmp_path: Path) -> None:
    local, remote, dynamic, other = (unused_port() for _ in range(4))
    with (
        tcp_server(echo) as echoes,
        shell(loopback_pair, tmp_path, "-L", f"{other}:127.0.0.1:{echoes}", columns=150) as terminal,
        busy(other) as came,
    ):

        def goes_on() -> None:
            before = came()
            wait_until(lambda: came() > before + 65_536, what="the other forward's traffic goes on")

        open_prompt(terminal)
        ask(terminal, f"-L{local}:127.0.0.1:{echoes}", f"Forwarding: listens here on 127.0.0.1:{local}")
        fetch(local, 20)
        goes_on()
        ask(terminal, f"-R {remote}:127.0.0.1:{echoes}", "Forwarding: listens there on")
        fetch(remote, 20)
        goes_on()
        ask(terminal, f"D{dynamic}", f"Forwarding: listens here on 127.0.0.1:{dynamic}")
        assert socks(dynamic, echoes) == b"by socks"
        goes_on()
        with busy(local) as local_came:
            wait_until(lambda: local_came() > 100_000, what="traffic by the new forward")
            screen = ask(terminal, "status", "forwards:")
            for text in (f"-L {other}:", f"-L {local}:", f"-R {remote}:", f"-D {dynamic}"):
                assert text in screen
            assert re.search(rf"-L {local}:127.0.0.1:{echoes}  on .*  1 open, ", screen)
            terminal.press(*"-KR", "Tab")
            terminal.wait_for(f"{OURS} -KR{remote}:127.0.0.1:{echoes}")
            terminal.press("C-a", "C-k")
            ask(terminal, f"-KL{local}", "Canceled forwarding.")
            with pytest.raises(ConnectionRefusedError):
                fetch(local)
            before = local_came()
            wait_until(lambda: local_came() > before + 65_536, what="the open connection goes on, as with ssh")
        goes_on()
        ask(terminal, f"-KR{remote}", "Canceled forwarding.")
        wait_until(lambda: not listens(remote), what="the peer listens no more")
        goes_on()
        ask(terminal, f"-KD{dynamic}", "Canceled forwarding.")
        wait_until(lambda: not listens(dynamic), what="nobody listens any more")
        goes_on()
        terminal.press("C-d")
        terminal.type("echo back $((6 * 7))")
        terminal.wait_for("back 42")


def socks(port: int, target: int) -> bytes:
    """What an echo says through a SOCKS 5 server."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big"))
        stream = connection.makefile("rb")
        assert stream.read(2) == b"\x05\x00"
        assert stream.read(10)[:2] == b"\x05\x00"
        connection.sendall(b"by socks")
        connection.shutdown(socket.SHUT_WR)
        return stream.read()


def test_mistakes_in_forwards_point_at_the_character(loopback_pair: Pair, tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        screen = ask(terminal, "-L80:web:8o", "'8o' is not a port")
        lines = screen.splitlines()
        spelled = lines.index("  -L80:web:8o")
        assert lines[spelled + 1].rstrip() == "  " + " " * len("-L80:web:8") + "^"
        ask(terminal, f"-L{taken.getsockname()[1]}:localhost:1", "taken")
        ask(terminal, "-KD1", "-D 1")


def test_connections_are_listed(loopback_pair: Pair, tmp_path: Path) -> None:
    port = unused_port()
    with (
        tcp_server(echo) as echoes,
        shell(loopback_pair, tmp_path, "-L", f"{port}:127.0.0.1:{echoes}", columns=150) as terminal,
        busy(port) as came,
    ):
        wait_until(lambda: came() > 100_000, what="traffic")
        terminal.press("Enter", "~", "#")
        terminal.wait_for("The following connections are open:")
        screen = terminal.wait_for(f"-L {port}:127.0.0.1:{echoes}")
        assert re.search(rf"127\.0\.0\.1:\d+ → .*:{echoes}  .* out, .* in", screen)


def test_background_while_a_connection_finishes(loopback_pair: Pair, tmp_path: Path) -> None:
    port = unused_port()
    client = loopback_pair.client
    with tcp_server(echo) as echoes, Terminal.open(LOCAL, tmp_path, "bash", "--norc", "-i", columns=150) as terminal:
        terminal.type("PS1='local> '")
        terminal.type(shlex.join((*client.command, "connect", f"-L{port}:127.0.0.1:{echoes}", PEER)))
        ready(terminal)
        with busy(port) as came:
            wait_until(lambda: came() > 100_000, what="traffic")
            terminal.press("Enter", "~", "&")
            screen = terminal.wait_for("\nlocal>\n")
            assert "~& [backgrounded]" in screen
            terminal.type("echo status $?; jobs")
            terminal.wait_for("status 0")
            assert not listens(port)
            before = came()
            wait_until(lambda: came() > before + 100_000, what="the open connection goes on")
            assert client.control_socket.exists()
        wait_until(lambda: not client.control_socket.exists(), what="it ends with its last connection")


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


@pytest.mark.netns
@requires_netns()
@requires_shaping()
def test_a_transfer_goes_on_beside_the_shell_and_is_waited_for(tmp_path: Path) -> None:
    with slow_pair(tmp_path) as pair:
        source, target = tmp_path / "big.bin", tmp_path / "arrived.bin"
        data = os.urandom(4_000_000)  # some 6 s by this link
        source.write_bytes(data)
        with shell(pair, tmp_path, columns=150) as terminal:
            open_prompt(terminal)
            ask(terminal, f"put {source} {target}", "[1] put ", "% of 4.0 MB")
            screen = ask(terminal, "status", "transfers:")
            assert re.search(r"\n  \[1\] put big.bin +\d", screen)
            terminal.press("C-d")
            terminal.type("echo shell $((6 * 7))")
            terminal.wait_for("shell 42")
            assert not target.exists()
            terminal.type("exit 3")
            terminal.wait_for("waiting for transfers and forwarded connections to end")
            assert terminal.wait_exit() == 3
            assert "[1] put " in terminal.screen()
        assert target.read_bytes() == data


@pytest.mark.netns
@requires_netns()
@requires_shaping()
def test_a_transfer_is_cancelled(tmp_path: Path) -> None:
    with slow_pair(tmp_path) as pair:
        source, target = tmp_path / "big.bin", tmp_path / "arrived.bin"
        source.write_bytes(os.urandom(40_000_000))
        with shell(pair, tmp_path, columns=150) as terminal:
            open_prompt(terminal)
            ask(terminal, f"put {source} {target}", "[1] put big.bin  ", "% of 40 MB")
            ask(terminal, "cancel 1", ": cancelled")
            ask(terminal, "status", "loss")
            assert "transfers:" not in terminal.screen()
            ask(terminal, "cancel 1", "there is no transfer 1")
            terminal.press("C-d")
            terminal.type("exit 4")
            assert terminal.wait_exit() == 4
        assert not target.exists()


@contextmanager
def slow_pair(directory: Path) -> Iterator[Pair]:
    """Host and client with a link of 6 Mbit/s between them."""
    with routed(directory) as (pair, place):
        place.client_link.shape(rate="6mbit")
        yield pair


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


def knock(port: int) -> None:
    """Connect, whatever comes of it."""
    with suppress(ConnectionError):
        socket.create_connection(("127.0.0.1", port), TIMEOUT).close()


def test_a_connection_that_is_refused_is_told(loopback_pair: Pair, tmp_path: Path) -> None:
    port, nobody = unused_port(), unused_port()
    with shell(loopback_pair, tmp_path, columns=150) as terminal:
        open_prompt(terminal)
        ask(terminal, f"-L{port}:127.0.0.1:{nobody}", "Forwarding:")
        knock(port)
        terminal.wait_for(f"\n-L {port}:127.0.0.1:{nobody}: 127.0.0.1:")
        terminal.press("C-d")
        terminal.type("echo back $((6 * 7))")
        terminal.wait_for("back 42")
        knock(port)
        terminal.wait_for(f"irosh: -L {port}:127.0.0.1:{nobody}: 127.0.0.1:")


@pytest.mark.netns
@requires_netns()
def test_the_prompt_is_of_use_while_the_host_does_not_answer(tmp_path: Path) -> None:
    with routed(tmp_path) as (pair, place), shell(pair, tmp_path, columns=150) as terminal:
        silence = place.router.drop_udp(place.host, place.client)
        open_prompt(terminal)
        terminal.type(f"-R{unused_port()}:127.0.0.1:1")
        wait_until(terminal.takes_signals, what="the command runs")
        terminal.press("C-c")
        terminal.wait_for("It goes on in the background")
        ask(terminal, "lpwd", os.getcwd())
        silence.lift()
        terminal.wait_for("Forwarding: listens there on")
        place.router.drop_udp(place.host, place.client)
        terminal.type("-R0:127.0.0.1:1")
        wait_until(terminal.takes_signals, what="the command runs")
        terminal.press("C-c")
        wait_until(lambda: terminal.screen().count("It goes on in the background") == 2, what="the prompt is back")
        terminal.press("C-d")
        began = time.monotonic()
        terminal.press("Enter", "~", ".")
        assert terminal.wait_exit() == 255
        assert time.monotonic() - began < 5
