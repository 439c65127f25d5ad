"""``irosh status`` of what is measured: now, again and again, and in the past."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.irosh_process import Irosh, Tunnel
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.servers import tcp_server
from tests.lab.terminal import Terminal


@contextmanager
def source(answer: int = 0) -> Iterator[str]:
    """A TCP server that sends ``answer`` bytes to each client, and reads what it says."""

    def serve(client: socket.socket) -> None:
        client.sendall(b"x" * answer)
        while client.recv(65536):
            pass

    with tcp_server(serve) as port:
        yield f"tcp://127.0.0.1:{port}"


def use(tunnel: Tunnel, size: int, upload: bytes = b"") -> socket.socket:
    """A connection through the tunnel that has brought ``size`` bytes."""
    client = socket.create_connection(tunnel.address())
    client.sendall(upload)
    while size > 0 and (data := client.recv(65536)):
        size -= len(data)
    return client


def only(side: Irosh) -> dict[str, Any]:
    """The status of its only connection."""
    [connection] = side.call("status")["connections"]
    found: dict[str, Any] = connection
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pinned_pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


def test_what_a_connection_and_its_streams_carry(pair: Pair) -> None:
    size = 3_000_000
    with source(size) as url, pair.client.tunnel(PEER, f"{url}=127.0.0.1:0") as tunnel, use(tunnel, size, b"hello"):
        wait_until(
            lambda: any(each["bytes_received"] >= size for each in only(pair.client)["stream_list"]),
            what="the stream's bytes are counted",
        )
        # What was not yet sampled is sampled soon.
        wait_until(lambda: only(pair.client)["bytes_received"] > size, what="the connection's bytes are counted")
        found = only(pair.client)
        far = pair.host.call("status")["connections"][-1]
        text = pair.client.run("status", "--streams").stdout.decode()
    stream = max(found["stream_list"], key=lambda each: int(each["bytes_received"]))
    assert (stream["service"], stream["detail"], stream["opened_by"]) == ("tunnel", url, "us")
    assert size <= stream["bytes_received"] <= size + 100
    assert 5 <= stream["bytes_sent"] <= 200
    assert found["receive_rate"] > 1000
    # On a busy machine one address of it may seem better than another: the path may have changed.
    assert found["path_changes"] >= 0
    assert (found["reconnects"], found["down"], found["down_seconds"]) == (0, False, 0.0)
    assert 0 < found["up_seconds"] < time.time() - found["since"] + 1
    assert found["loss"] < 0.2
    assert far["bytes_sent"] > size
    far_stream = max(far["stream_list"], key=lambda each: int(each["bytes_sent"]))
    assert (far_stream["service"], far_stream["detail"], far_stream["opened_by"]) == ("tunnel", url, "peer")
    row = next(line.split() for line in text.splitlines() if line.startswith(f"{PEER} ") and url in line)
    assert row[1:3] == ["tunnel", url]
    assert "3.0 MB" in text


def test_packets_of_udp_tunnels_count_as_their_streams_do(pair: Pair) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as there, socket.socket(type=socket.SOCK_DGRAM) as here:
        there.bind(("127.0.0.1", 0))
        there.settimeout(30)
        here.settimeout(30)
        url = f"udp://127.0.0.1:{there.getsockname()[1]}"
        with pair.client.tunnel(PEER, f"{url}=127.0.0.1:0") as tunnel:
            for _ in range(50):  # the first by the stream, then, in both directions, by datagrams
                here.sendto(b"x" * 1000, tunnel.address())
                _, way_back = there.recvfrom(2000)
                there.sendto(b"y" * 500, way_back)
                here.recv(2000)
            near = max(only(pair.client)["stream_list"], key=lambda each: int(each["bytes_sent"]))
            far = max(
                pair.host.call("status")["connections"][-1]["stream_list"], key=lambda each: int(each["bytes_sent"])
            )
    assert (near["detail"], far["detail"]) == (url, url)
    assert 50_000 <= near["bytes_sent"] <= 51_000
    assert 25_000 <= near["bytes_received"] <= 26_000
    assert 50_000 <= far["bytes_received"] <= 51_000
    assert 25_000 <= far["bytes_sent"] <= 26_000


def test_commands_and_their_arguments_are_not_shown(pair: Pair) -> None:
    with pair.client.start("connect", PEER, "cat; echo very-secret", stdin=-1) as process:
        process.wait_event("connected")
        wait_until(lambda: only(pair.client)["stream_list"], what="the stream is there")
        for side in (pair.client, pair.host):
            shown = json.dumps(side.call("status")) + side.run("status", "--streams").stdout.decode()
            assert "shell" in shown
            assert "very-secret" not in shown


def test_a_node_that_does_not_answer_for_a_while_is_a_gap(tmp_path: Path) -> None:
    with source() as url, pinned_pair(tmp_path) as pair:
        with (pair.client.state / "config.toml").open("a") as config:
            config.write('[session]\nkeepalive = "500ms"\ndead_after = "1.5s"\n'.replace("500ms", "0.5s"))
        with pair.client.tunnel(PEER, f"{url}=127.0.0.1:0"):
            pair.host_process.process.send_signal(signal.SIGSTOP)
            wait_until(lambda: only(pair.client)["down"], what="the client has noticed")
            text = pair.client.run("status").stdout.decode().splitlines()[-1].split()
            assert text[:3] == [PEER, "outgoing", "down"]
            pair.host_process.process.send_signal(signal.SIGCONT)
            wait_until(lambda: not only(pair.client)["down"], timeout=60, what="the session goes on")
            wait_until(lambda: only(pair.client)["reconnects"] == 1, what="it is counted")
            found = only(pair.client)
            assert 0 < found["down_seconds"] < 60
            assert found["up_seconds"] > 0
            metrics = pair.client.run("metrics").stdout.decode()
            assert f'irosh_reconnects_total{{peer="{PEER}"}} 1.0' in metrics
            history = pair.client.call("status", "--history", PEER)["peers"][0]["total"]
            assert (history["reconnects"], history["down_seconds"] > 0) == (1, True)


# -- again and again


def test_watching_a_node_come_and_go(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    with irosh.start("status", "--watch", "--interval", "0.2") as watching:
        assert watching.wait_event("status")["running"] is False
        with irosh.host() as host:
            assert watching.wait_event("status", running=True)["pid"] == host.pid
        watching.wait_event("status", running=False)
        with irosh.host() as host:
            watching.wait_event("status", running=True, pid=host.pid)
            host.process.send_signal(signal.SIGSTOP)
            try:
                assert watching.wait_event("status", running=False, timeout=30)["pid"] == host.pid
            finally:
                host.process.send_signal(signal.SIGCONT)
            watching.wait_event("status", running=True)
        watching.process.send_signal(signal.SIGINT)
        assert watching.wait_exit() == 0


def test_watching_without_a_terminal_prints_blocks(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = LOCAL.popen(*irosh.command, "status", "--watch", "--interval=0.2", stdout=file)
        try:
            wait_until(lambda: output.read_text().count("not running") >= 3, what="it is shown again and again")
        finally:
            process.terminate()
            assert process.wait(30) == 0
    text = output.read_text()
    assert "\x1b" not in text
    assert len(text.split("\n\n")) >= 3


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux: see tests/packages.sh")
def test_watching_on_a_terminal_is_in_place(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    watching = f"{' '.join(irosh.command)} status --watch --interval 0.2"
    command = ("sh", "-c", f"trap : INT; echo before; {watching}; echo left with $?; trap - INT; cat")
    with Terminal.open(LOCAL, tmp_path, *command) as terminal:
        terminal.wait_for("not running")
        assert "before" not in terminal.screen()
        with irosh.host("--metrics-listen", "0"):
            terminal.wait_for("No connections.")
            assert terminal.screen().count("irosh 0.") == 1
        terminal.wait_for("not running")
        assert "No connections." not in terminal.screen(), "nothing of the frame before is left"
        terminal.press("C-c")
        screen = terminal.wait_for("left with 0")
    assert screen.split()[:2] == ["before", "left"], "the screen is as it was"


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux: see tests/packages.sh")
def test_watching_on_a_terminal_that_is_too_small(tmp_path: Path) -> None:
    irosh = Irosh(LOCAL, tmp_path / "state")
    with irosh.host():
        command = (*irosh.command, "status", "--watch", "--interval", "0.2")
        with Terminal.open(LOCAL, tmp_path, *command, columns=40, rows=4) as terminal:
            terminal.wait_for("id  ")
            lines = terminal.screen().splitlines()
            assert (lines[0][:2], lines[1], lines[2][:4], lines[3][:2]) == ("20", "", "node", "id")
            terminal.resize(90, 30)
            terminal.wait_for("No connections.")


# -- the past


def test_the_past_of_a_peer(pair: Pair) -> None:
    size = 2_000_000
    with source(size) as url, pair.client.tunnel(PEER, f"{url}=127.0.0.1:0") as tunnel:
        use(tunnel, size).close()
        wait_until(lambda: only(pair.client)["bytes_received"] > size, what="it is counted")
        found = pair.client.call("status", "--history", PEER, "--since", "10m")
    [peer] = found["peers"]
    assert (peer["peer"], peer["id"]) == (PEER, pair.host.call("status")["id"])
    assert (found["step"], found["since"] % 60) == (60, 0)
    assert found["until"] - found["since"] <= 600
    assert peer["total"]["bytes_received"] > size
    assert sum(point["bytes_received"] for point in peer["points"]) == peer["total"]["bytes_received"]
    assert peer["total"]["rtt_ms"] is not None
    # The node has ended, the history has not.
    again = pair.client.call("status", "--history")["peers"]
    assert again[0]["total"]["bytes_received"] >= peer["total"]["bytes_received"]
    text = pair.client.run("status", "--history", PEER).stdout.decode().splitlines()
    assert text[0].startswith("since ")
    assert next(line for line in text if line.startswith("FROM")).split()[:3] == ["FROM", "RTT", "MIN"]
    assert "█" in text[-1]
    everyone = pair.client.run("status", "--history").stdout.decode().splitlines()
    assert [line.split()[0] for line in everyone[2:]] == ["PEER", PEER]
    assert "█" in everyone[-1]


def test_a_command_that_is_soon_over_is_in_the_history(tmp_path: Path) -> None:
    with pinned_pair(tmp_path) as pair:
        assert pair.client.run("connect", PEER, "head -c 500000 /dev/zero").returncode == 0
        [there] = pair.host.call("status", "--history")["peers"]
    [here] = pair.client.call("status", "--history")["peers"]
    assert here["total"]["bytes_received"] > 500_000
    assert there["total"]["bytes_sent"] > 500_000


def test_no_past(tmp_path: Path) -> None:
    state = tmp_path / "none"
    irosh = Irosh(LOCAL, state)
    (state / "config.toml").unlink()
    state.rmdir()
    assert irosh.call("status", "--history")["peers"] == []
    assert "Nothing was measured" in irosh.run("status", "--history", "--since", "1d").stdout.decode()
    assert irosh.failure("status", "--history", "nobody")["code"] == "unknown-target"
    assert not os.path.exists(state)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--interval", "1s"),
        ("--since", "1h"),
        ("--history", "--watch"),
        ("--watch", "--interval", "soon"),
        ("--history", "--since", "0"),
    ],
)
def test_mistaken_options(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert Irosh(LOCAL, tmp_path / "state").failure("status", *arguments)["code"] == "usage"
