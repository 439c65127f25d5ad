"""``irosh connect -L``, ``-D`` and ``-R`` between two nodes, with sockets of the tests' own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.lab.forwards import ask_socks, exchange, forwarding
from tests.lab.irosh_process import Irosh
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.servers import TIMEOUT, echo, listens, tcp_server, unix_server, unused_port

DATA = os.urandom(300_000)


class TestLocal:
    """``-L``"""

    def test_port_0_at_both_loopback_addresses(self, loopback_pair: Pair) -> None:
        with tcp_server(echo) as port, forwarding(loopback_pair.client, PEER, "-L", f"0:localhost:{port}") as forwards:
            assert [text.rpartition(":")[0] for text in forwards.listens[0]] == ["127.0.0.1", "[::1]"]
            assert forwards.address(0, 0)[1] == forwards.address(0, 1)[1]
            assert exchange(forwards.connect(0, 0), DATA) == DATA
            assert exchange(forwards.connect(0, 1), DATA) == DATA

    def test_a_bind_address_and_ipv6_at_the_other_end(self, loopback_pair: Pair) -> None:
        with (
            tcp_server(echo, address="::1") as port,
            forwarding(loopback_pair.client, PEER, "-L", f"127.0.0.3:0:[::1]:{port}") as forwards,
        ):
            assert forwards.address()[0] == "127.0.0.3"
            assert len(forwards.listens[0]) == 1
            assert exchange(forwards.connect(), DATA) == DATA

    @pytest.mark.parametrize("options", [("-L", "*:0:{}"), ("-g", "-L", "0:{}"), ("-oGatewayPorts=yes", "-L", "0:{}")])
    def test_every_interface(self, loopback_pair: Pair, options: tuple[str, ...]) -> None:
        with tcp_server(echo) as port:
            given = [option.format(f"127.0.0.1:{port}") for option in options]
            with forwarding(loopback_pair.client, PEER, *given) as forwards:
                assert forwards.address()[0] == "0.0.0.0"
                port_here = forwards.address()[1]
                assert exchange(socket.create_connection(("127.0.0.9", port_here), TIMEOUT), DATA) == DATA

    def test_unix_sockets_at_both_ends(self, loopback_pair: Pair, tmp_path: Path) -> None:
        there, here = tmp_path / "there.sock", tmp_path / "here.sock"
        client = loopback_pair.add_client(tmp_path / "client", allow=[f"forward:unix://{there}"])
        with unix_server(echo, there), forwarding(client, PEER, "-L", f"{here}:{there}") as forwards:
            assert forwards.listens == [[str(here)]]
            assert here.stat().st_mode & 0o777 == 0o600
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(here))
                assert exchange(connection, DATA) == DATA
        assert not here.exists()

    def test_a_port_that_is_taken(self, loopback_pair: Pair) -> None:
        with tcp_server(echo) as taken:
            done = loopback_pair.client.run(
                "connect", "-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{taken}:127.0.0.1:1", PEER
            )
        assert done.returncode == 255
        assert b"is taken" in done.stderr
        assert f"-L {taken}:127.0.0.1:1".encode() in done.stderr

    def test_without_exit_on_failure_the_command_runs(self, loopback_pair: Pair) -> None:
        with tcp_server(echo) as taken:
            done = loopback_pair.client.run("connect", "-L", f"{taken}:127.0.0.1:1", PEER, "echo ran")
        assert (done.returncode, done.stdout) == (0, b"ran\n")
        assert b"is taken" in done.stderr

    def test_what_the_peer_does_not_allow(self, loopback_pair: Pair) -> None:
        error = loopback_pair.client.failure(
            "connect", "-N", "-oExitOnForwardFailure=yes", "-L", "0:192.0.2.1:80", PEER
        )
        assert error["code"] == "denied"

    def test_a_refused_connection_is_told(self, loopback_pair: Pair) -> None:
        dead = unused_port()
        with forwarding(loopback_pair.client, PEER, "-L", f"0:127.0.0.1:{dead}") as forwards:
            with pytest.raises(ConnectionResetError), forwards.connect() as connection:
                connection.recv(1)
            event = forwards.process.wait_event("refused")
            assert event["error"]["code"] == "target-refused"

    def test_a_malformed_forward_is_pointed_at(self, loopback_pair: Pair) -> None:
        done = loopback_pair.client.run("connect", "-L", "8080:web:8o", PEER, "true")
        assert done.returncode == 255
        assert done.stderr.decode().splitlines() == [
            "irosh: -L 8080:web:8o: character 11: '8o' is not a port",
            "  8080:web:8o",
            "            ^",
            "  1 to 65535",
        ]


class TestDynamic:
    """``-D``"""

    def test_names_are_resolved_there(self, loopback_pair: Pair) -> None:
        with tcp_server(echo) as port, forwarding(loopback_pair.client, PEER, "-D", "0") as forwards:
            connection = forwards.connect()
            assert ask_socks(connection, "localhost", port) == 0
            assert exchange(connection, DATA) == DATA

    @pytest.mark.parametrize(
        ("host", "port", "reply"),
        [("192.0.2.1", 80, 2), ("nowhere.invalid", 80, 4), ("127.0.0.1", None, 5)],
        ids=["denied", "unknown", "refused"],
    )
    def test_failures_have_their_replies(self, loopback_pair: Pair, host: str, port: int | None, reply: int) -> None:
        with forwarding(loopback_pair.client, PEER, "-D", "0") as forwards, forwards.connect() as connection:
            assert ask_socks(connection, host, port or unused_port()) == reply
            assert connection.recv(1) == b""
            forwards.process.wait_event("refused")

    def test_nonsense(self, loopback_pair: Pair) -> None:
        with forwarding(loopback_pair.client, PEER, "-D", "0") as forwards:
            with forwards.connect() as connection:
                connection.sendall(b"G")
                assert connection.makefile("rb").read() == b"\x05\xff"
            assert "not SOCKS" in forwards.process.wait_event("refused")["error"]["message"]

    def test_at_a_unix_socket(self, loopback_pair: Pair, tmp_path: Path) -> None:
        here = tmp_path / "socks.sock"
        with (
            tcp_server(echo) as port,
            forwarding(loopback_pair.client, PEER, "-D", str(here)),
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.connect(str(here))
            assert ask_socks(connection, "127.0.0.1", port) == 0
            assert exchange(connection, DATA) == DATA


class TestRemote:
    """``-R``"""

    def test_port_0_at_both_loopback_addresses(self, loopback_pair: Pair) -> None:
        with tcp_server(echo) as port, forwarding(loopback_pair.client, PEER, "-R", f"0:localhost:{port}") as forwards:
            assert [text.rpartition(":")[0] for text in forwards.listens[0]] == ["127.0.0.1", "[::1]"]
            assert exchange(forwards.connect(0, 0), DATA) == DATA
            assert exchange(forwards.connect(0, 1), DATA) == DATA
            port_there = forwards.address()[1]
        wait_until(lambda: not listens(port_there), what="the host listens no more")

    def test_the_chosen_port_is_reported_as_ssh_does(self, loopback_pair: Pair) -> None:
        done = loopback_pair.client.run("connect", "-R", "0:localhost:1", PEER, "true")
        assert done.returncode == 0
        assert done.stderr.startswith(b"Allocated port ")
        assert done.stderr.endswith(b" for remote forward to localhost:1\n")

    def test_dynamic(self, loopback_pair: Pair) -> None:
        with tcp_server(echo) as port, forwarding(loopback_pair.client, PEER, "-R", "0") as forwards:
            connection = forwards.connect()
            assert ask_socks(connection, "localhost", port) == 0
            assert exchange(connection, DATA) == DATA
            with forwards.connect() as connection:
                assert ask_socks(connection, "127.0.0.1", unused_port()) == 5

    def test_a_port_that_is_taken(self, loopback_pair: Pair) -> None:
        with tcp_server(echo) as taken:
            error = loopback_pair.client.failure(
                "connect", "-N", "-oExitOnForwardFailure=yes", "-R", f"{taken}:localhost:1", PEER
            )
        assert error["code"] == "port-taken"

    def test_what_the_peer_does_not_allow(self, loopback_pair: Pair) -> None:
        for spec in ("*:0:localhost:1", "/tmp/irosh-test.sock:localhost:1"):
            error = loopback_pair.client.failure("connect", "-N", "-oExitOnForwardFailure=yes", "-R", spec, PEER)
            assert error["code"] == "denied"

    def test_every_interface_when_allowed(self, loopback_pair: Pair, tmp_path: Path) -> None:
        client = loopback_pair.add_client(tmp_path / "client", allow=["listen:tcp://*:*"])
        with tcp_server(echo) as port, forwarding(client, PEER, "-R", f"*:0:localhost:{port}") as forwards:
            there = ("127.0.0.9", forwards.address()[1])
            assert exchange(socket.create_connection(there, TIMEOUT), DATA) == DATA

    def test_unix_sockets_at_both_ends(self, loopback_pair: Pair, tmp_path: Path) -> None:
        there, here = tmp_path / "there.sock", tmp_path / "here.sock"
        client = loopback_pair.add_client(tmp_path / "client", allow=[f"listen:unix://{tmp_path}/*.sock"])
        with (
            unix_server(echo, here),
            forwarding(client, PEER, "-R", f"{there}:{here}"),
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.connect(str(there))
            assert exchange(connection, DATA) == DATA
        wait_until(lambda: not there.exists(), what="the socket on the host is removed")

    def test_what_is_not_there_is_a_reset(self, loopback_pair: Pair) -> None:
        with forwarding(loopback_pair.client, PEER, "-R", f"0:127.0.0.1:{unused_port()}") as forwards:
            with pytest.raises(ConnectionResetError), forwards.connect() as connection:
                connection.recv(1)
            assert forwards.process.wait_event("refused")["error"]["code"] == "target-refused"

    def test_what_is_taken_away_holds_at_once(self, loopback_pair: Pair, tmp_path: Path) -> None:
        client = loopback_pair.add_client(tmp_path / "client", allow=["listen:tcp://127.0.0.1:*", "exec"])
        name = next(peer["petname"] for peer in loopback_pair.host.call("peer", "list")["peers"][::-1])
        with tcp_server(echo) as port, forwarding(client, PEER, "-R", f"127.0.0.1:0:localhost:{port}") as forwards:
            assert exchange(forwards.connect(), DATA) == DATA
            loopback_pair.host.call("peer", "allow", name, "exec", "--replace")
            with forwards.connect() as connection:
                assert connection.recv(1) == b""


def test_stdio(loopback_pair: Pair) -> None:
    with tcp_server(echo) as port:
        done = loopback_pair.client.run("connect", "-W", f"localhost:{port}", PEER, stdin=DATA)
    assert (done.returncode, done.stdout) == (0, DATA), done.stderr


@pytest.mark.parametrize("ways", [("connect", "-W", "localhost:{port}"), ("proxy",)], ids=" ".join)
def test_stdio_that_is_broken_off_has_not_succeeded(ways: tuple[str, ...], loopback_pair: Pair) -> None:
    client = loopback_pair.client
    with tcp_server(echo) as port:
        arguments = (each.format(port=port) for each in ways)
        stream = client.machine.popen(*client.command, *arguments, PEER, stdin=-1, stdout=-1, stderr=-1)
        with stream:
            assert stream.stdin is not None and stream.stdout is not None and stream.stderr is not None
            stream.stdin.write(b"SSH-2.0-test\r\n")
            stream.stdin.flush()
            assert stream.stdout.readline().startswith(b"SSH-2.0-")
            assert client.run("connect", "-O", "exit", PEER).returncode == 0
            assert stream.wait(TIMEOUT) == (255 if ways[0] == "connect" else 1)
            assert stream.stderr.read() == b"irosh: the connection was ended by its user\n"


def test_a_command_waits_for_forwarded_connections(loopback_pair: Pair) -> None:
    port_here = unused_port()
    with (
        tcp_server(echo) as port,
        loopback_pair.client.start(
            "connect", "-L", f"{port_here}:localhost:{port}", PEER, "sleep 2; echo done"
        ) as process,
    ):
        process.wait_event("forward")
        with socket.create_connection(("127.0.0.1", port_here), TIMEOUT) as connection:
            process.wait_event("waiting", connections=1)
            assert process.output() == "done\n"
            assert exchange(connection, DATA) == DATA
        assert process.wait_exit() == 0


def in_background(client: Irosh, *arguments: str) -> tuple[int, str]:
    """The status of what stays in the foreground of ``irosh connect -f``, and what it said on standard error.

    As with ssh, the one in the background keeps standard output and error, so there must not be pipes.
    """
    with tempfile.TemporaryFile() as said:
        command = (*client.command, "connect", *arguments)
        process = client.machine.popen(*command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        status = process.wait(TIMEOUT)
        said.seek(0)
        return status, said.read().decode()


def test_in_the_background(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.add_client(tmp_path / "client")
    port_here = unused_port()
    with tcp_server(echo) as port:
        assert in_background(client, "-f", "-N", "-L", f"{port_here}:localhost:{port}", PEER) == (0, "")
        try:
            assert exchange(socket.create_connection(("127.0.0.1", port_here), TIMEOUT), DATA) == DATA
        finally:
            os.kill(int(client.call("status")["pid"]), signal.SIGTERM)
        wait_until(lambda: not listens(port_here), what="it has ended")


def test_in_the_background_failures_are_in_the_foreground(loopback_pair: Pair) -> None:
    with tcp_server(echo) as taken:
        options = ("-fNoExitOnForwardFailure=yes", "-L", f"{taken}:localhost:1")
        status, said = in_background(loopback_pair.client, *options, PEER)
    assert status == 255
    assert "is taken" in said


def test_a_command_in_the_background(loopback_pair: Pair, tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert in_background(loopback_pair.client, "-f", PEER, f"cat; sleep 1; echo ran > {file}") == (0, "")
    assert not file.exists()
    wait_until(lambda: file.exists() and file.read_text(), what="the command has ended")


class TestControl:
    """``-O`` asks the running node."""

    def test_forwards_that_the_node_holds(self, loopback_pair: Pair) -> None:
        client = loopback_pair.client
        with tcp_server(echo) as port, client.start("connect", PEER, "sleep 100") as process:
            process.wait_event("connected")
            assert client.run("connect", "-O", "check", PEER).stdout.startswith(b"Master running (pid=")
            spec = f"0:localhost:{port}"
            remote = int(client.run("connect", "-O", "forward", "-R", spec, PEER).stdout)
            (local,) = client.call("connect", "-O", "forward", "-L", spec, PEER)["forwards"]
            local_port = int(local["listens"][0].rpartition(":")[2])
            for each in (remote, local_port):
                assert exchange(socket.create_connection(("127.0.0.1", each), TIMEOUT), DATA) == DATA
            open_one = socket.create_connection(("127.0.0.1", local_port), TIMEOUT)
            open_one.sendall(b"x")
            assert open_one.recv(1) == b"x"
            assert client.run("connect", "-O", "cancel", "-R", str(remote), PEER).returncode == 0
            assert client.run("connect", "-O", "cancel", "-L", spec, PEER).returncode == 0
            wait_until(lambda: not listens(remote) and not listens(local_port), what="both are cancelled")
            assert exchange(open_one, DATA) == DATA, "an open connection goes on"
            assert client.failure("connect", "-O", "cancel", "-L", spec, PEER)["code"] == "usage"
            assert client.call("connect", "-O", "check", PEER)["forwards"] == []
            again = int(client.run("connect", "-O", "forward", "-R", spec, PEER).stdout)
            assert exchange(socket.create_connection(("127.0.0.1", again), TIMEOUT), DATA) == DATA

    def test_those_of_a_command(self, loopback_pair: Pair) -> None:
        with forwarding(loopback_pair.client, PEER, "-D", "0") as forwards:
            port = forwards.address()[1]
            assert loopback_pair.client.run("connect", "-O", "cancel", "-D", str(port), PEER).returncode == 0
            wait_until(lambda: not listens(port), what="it is cancelled")

    def test_without_a_node(self, loopback_pair: Pair) -> None:
        assert loopback_pair.client.failure("connect", "-O", "check", PEER)["code"] == "not-running"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-N", PEER, "true"), "-N runs no command"),
        (("-N", "--session", "work", PEER), "-N does not go with --session"),
        (("-W", "localhost:1", "--session", "work", PEER), "-W does not go with --session"),
        (("-A", "--session", "work", PEER), "-A does not go with --session"),
        (("-f", PEER), "-f needs a command"),
        (("-W", "x:1", PEER, "true"), "-W takes standard input"),
        (("-O", "forward", PEER), "-O forward takes -L"),
        (("-o", "ExitOnForwardFail=yes", PEER, "true"), "did you mean ExitOnForwardFailure?"),
        (("-o", "ExitOnForwardFailure=maybe", PEER, "true"), "takes yes or no"),
        (("-o", "Frobnicate=yes", PEER, "true"), "no option of irosh"),
    ],
)
def test_wrong_usage(loopback_pair: Pair, options: tuple[str, ...], message: str) -> None:
    done = loopback_pair.client.run("connect", *options)
    assert done.returncode == 2
    assert message in done.stderr.decode()


def test_options_of_ssh_config(loopback_pair: Pair) -> None:
    run = loopback_pair.client.run
    done = run(
        "connect", "-oSetEnv=LC_X=from-set", "-o", "SendEnv LC_?", PEER, "echo $LC_X $LC_Y", environment={"LC_Y": "y"}
    )
    assert done.stdout == b"from-set y\n"
    assert run("connect", "-oRequestTTY=force", PEER, "tty").stdout.startswith(b"/dev/pts/")
    assert run("connect", "-oConnectTimeout=30", PEER, "echo in time").stdout == b"in time\n"
