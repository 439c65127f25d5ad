"""What dies in the middle: clients, tunnels, hosts, by SIGKILL and by SIGTERM. Others go on, and nothing is left."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from tests.lab.irosh_process import Irosh, IroshProcess, Tunnel
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import processes_with, wait_until
from tests.lab.servers import TIMEOUT, echo, listens, tcp_server

# A vanished peer is noticed by QUIC's idle timeout: 30 s without a packet from it, up to 40 s if little was sent to it.
IDLE_DEADLINE = 90.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A pair of this test's own."""
    with pinned_pair(tmp_path) as made:
        yield made


def endless(name: str, tmp_path: Path) -> tuple[str, str]:
    """A command that writes for ever, and an argument that only its process has."""
    marker = f"{name}-{tmp_path.parent.name}-{tmp_path.name}"
    return f"exec sh -c 'while echo {'x' * 1000}; do :; done' {marker}", marker


def test_killed_clients_leave_nothing_on_the_host_and_harm_nobody(tmp_path: Path) -> None:
    # A killed client may be one that only lost its network: its sessions end when the time to resume is over.
    with pinned_pair(tmp_path, config='[session]\ndead_after = "8s"\nkeepalive = "4s"\nresume = "2s"') as pair:
        _kill_clients(pair, tmp_path)


def _kill_clients(pair: Pair, tmp_path: Path) -> None:
    host = pair.host_process
    ended = threading.Event()

    def hold(connection: socket.socket) -> None:
        try:
            connection.sendall(b"x")
            connection.settimeout(IDLE_DEADLINE)
            connection.recv(1)
        finally:
            ended.set()

    before = host.descriptors()
    downloading, download = endless("download", tmp_path)
    upload = f"upload-{tmp_path.parent.name}-{tmp_path.name}"
    terminal = f"terminal-{tmp_path.parent.name}-{tmp_path.name}"
    victims = [pair.add_client(tmp_path / name) for name in ("down", "up", "tty", "tunnel")]
    with tcp_server(hold) as port, Path("/dev/zero").open("rb") as zeros:
        running = [
            _session(victims[0], downloading),
            _session(victims[1], f"exec sh -c 'cat > /dev/null; sleep 600' {upload}", stdin=zeros),
            _session(victims[2], "-t", f"exec sh -c 'sleep 600' {terminal}"),
            victims[3].start("tunnel", "open", PEER, f"--map=tcp://127.0.0.1:{port}=127.0.0.1:0"),
        ]
        running[3].wait_event("ready")
        markers = (download, upload, terminal)
        wait_until(lambda: all(processes_with(marker) for marker in markers), what="the commands run")
        with socket.create_connection(Tunnel(running[3]).address(), TIMEOUT) as connection:
            assert connection.recv(1) == b"x"
            for victim in running:
                victim.kill()
        assert pair.client.run("connect", PEER, "echo not disturbed").stdout == b"not disturbed\n"
        wait_until(
            lambda: pair.host.call("status")["connections"] == [],
            timeout=IDLE_DEADLINE,
            every=1.0,
            what="the host has given up the connections",
        )
        for marker in markers:
            wait_until(partial(_gone, marker), what=f"{marker}, the command of a killed client, has ended")
        wait_until(ended.is_set, what="the tunnel's source knows that its client is gone")
        wait_until(lambda: host.descriptors() <= before, what="the host has closed all of it")
    assert pair.client.run("connect", PEER, "echo still not").stdout == b"still not\n"


def test_a_killed_command_leaves_the_node_it_was_attached_to(pair: Pair, tmp_path: Path) -> None:
    with tcp_server(echo) as port, pair.client.tunnel(PEER, f"tcp://127.0.0.1:{port}=127.0.0.1:0") as tunnel:
        command, marker = endless("attached", tmp_path)
        attached = _session(pair.client, command)
        wait_until(lambda: processes_with(marker), what="the command runs")
        attached.kill()
        wait_until(lambda: not processes_with(marker), what="the command has ended with its client")
        assert _echoes(tunnel)


def test_a_node_killed_with_its_socket_left_behind_can_start_again(pair: Pair) -> None:
    with tcp_server(echo) as port:
        source = f"tcp://127.0.0.1:{port}"
        with pair.client.start("tunnel", "open", PEER, f"--map={source}=127.0.0.1:0") as process:
            process.wait_event("ready")
            process.kill()
        assert pair.client.control_socket.exists(), "a killed process cannot remove it"
        with pair.client.tunnel(PEER, f"{source}=127.0.0.1:0") as tunnel:
            assert _echoes(tunnel)
    assert not pair.client.control_socket.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
def test_a_tunnel_recovers_when_its_host_comes_back(tmp_path: Path, number: signal.Signals) -> None:
    host, client = Irosh(LOCAL, tmp_path / "host"), Irosh(LOCAL, tmp_path / "client")
    with tcp_server(echo) as port:
        first = host.start("host")
        ready = first.wait_event("ready")
        with client.tunnel(ready["ticket"], f"tcp://127.0.0.1:{port}=127.0.0.1:0", options=["--name", PEER]) as tunnel:
            assert _echoes(tunnel)
            with socket.create_connection(tunnel.address(), TIMEOUT) as connection:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x"
                first.process.send_signal(number)
                first.wait_exit()
                with host.host("--bind", ready["addresses"][0]):
                    tunnel.process.wait_event("lost", timeout=IDLE_DEADLINE)
                    connection.settimeout(TIMEOUT)
                    with pytest.raises(ConnectionResetError):
                        connection.recv(1)
                    tunnel.process.wait_event("restored", timeout=IDLE_DEADLINE)
                    assert _echoes(tunnel)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["terminated", "interrupted"])
def test_everything_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    relay = Irosh(LOCAL, tmp_path / "relay").start("relay", "serve", "--listen", "127.0.0.1:0")
    url = relay.wait_event("ready")["url"]
    relay_port = int(url.rpartition(":")[2])
    host = Irosh(LOCAL, tmp_path / "host", relays=[url])
    client = Irosh(LOCAL, tmp_path / "client", relays=[url])
    serving = host.start("host")
    ticket = serving.wait_event("ready")["ticket"]
    _, marker = endless("left", tmp_path)
    unix = tmp_path / "listen.sock"
    with tcp_server(echo) as port:
        source = f"tcp://127.0.0.1:{port}"
        opened = client.start(
            "tunnel", "open", ticket, "--name", PEER, f"--map={source}=127.0.0.1:0", f"--map={source}=unix://{unix}"
        )
        opened.wait_event("ready")
        tunnel = Tunnel(opened)
        session = _session(client, "-t", f"exec sh -c 'sleep 600' {marker}")
        wait_until(lambda: processes_with(marker), what="the command runs")
        assert _echoes(tunnel)
        session.stop(number)
        wait_until(lambda: not processes_with(marker), what="the remote command has ended")
        assert opened.stop(number) == 0
        assert serving.stop(number) == 0
        assert relay.stop(number) == 0
    assert not unix.exists()
    assert not listens(tunnel.address()[1])
    assert not listens(relay_port)
    for irosh in (host, client):
        assert not irosh.control_socket.exists()
        assert irosh.call("status")["running"] is False


def test_a_host_that_ends_takes_its_sessions_with_it(pair: Pair, tmp_path: Path) -> None:
    _, marker = endless("orphan", tmp_path)
    with _session(pair.client, f"exec sh -c 'sleep 600' {marker}") as session:
        wait_until(lambda: processes_with(marker), what="the command runs")
        pair.host_process.stop()
        assert session.wait_failure()["code"] == "shutting-down"
    assert not processes_with(marker)


def _gone(marker: str) -> bool:
    return not processes_with(marker)


def _session(irosh: Irosh, *arguments: str, stdin: IO[bytes] | int = subprocess.PIPE) -> IroshProcess:
    """A remote command that has begun; options come before it."""
    *options, command = arguments
    process = irosh.start("connect", *options, PEER, command, stdin=stdin)
    process.wait_event("connected")
    return process


def _echoes(tunnel: Tunnel) -> bool:
    with socket.create_connection(tunnel.address(), TIMEOUT) as connection:
        connection.sendall(b"are you there?")
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read() == b"are you there?"
