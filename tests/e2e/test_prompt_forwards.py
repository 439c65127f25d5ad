"""Forwards added, listed and cancelled at the prompt inside a session, ``~C``, and by ``~#`` and ``~&``."""

from __future__ import annotations

import os
import re
import shlex
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.prompts import OURS, ask, open_prompt
from tests.e2e.shells import PROMPT, ready, shell
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.lab.servers import TIMEOUT, echo, listens, tcp_server, unused_port
from tests.lab.terminal import Terminal

pytestmark = requires("tmux")


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
