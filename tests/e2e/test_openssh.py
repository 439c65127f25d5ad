"""The stock OpenSSH client, and git with it, through ``irosh proxy``."""

from __future__ import annotations

import hashlib
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.e2e.openssh import FORBIDDEN, OpenSSH, openssh, openssh_knowing
from tests.lab.forwards import ask_socks, exchange
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.lab.servers import TIMEOUT, echo, listens, tcp_server, unix_server, unused_port
from tests.support.compatibility import shows

pytestmark = requires("ssh")


@pytest.fixture
def ssh(loopback_pair: Pair, tmp_path: Path) -> OpenSSH:
    """``ssh box``, checking the host key against what irosh exports."""
    return openssh(loopback_pair.client, tmp_path)


@shows("ssh", "commands on pipes, standard input and output, exit status; host key checked against the identity")
def test_a_command_with_the_host_key_checked(ssh: OpenSSH) -> None:
    done = ssh.run(PEER, "cat; echo err >&2; exit 3", stdin=b"through stock ssh")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"through stock ssh", b"err\n")


def test_the_host_exports_the_same_key(loopback_pair: Pair) -> None:
    (by_client,) = loopback_pair.client.run("identity", "export-ssh", PEER).stdout.splitlines()
    by_host = loopback_pair.host.run("identity", "export-ssh").stdout.splitlines()
    assert by_client.split()[1:3] in [line.split()[1:3] for line in by_host]


def test_another_host_key_is_refused(loopback_pair: Pair, tmp_path: Path) -> None:
    own = loopback_pair.client.run("identity", "export-ssh", "--authorized-key").stdout.decode()
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"{PEER} {' '.join(own.split()[:2])}\n")
    done = openssh_knowing(loopback_pair.client, known_hosts).run(PEER, "true")
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


def test_an_unknown_peer_fails_with_the_reason(ssh: OpenSSH) -> None:
    done = ssh.run("nobody", "true")
    assert done.returncode == 255
    assert b"no peer is named 'nobody'" in done.stderr


def test_the_printed_configuration_is_enough(loopback_pair: Pair, tmp_path: Path) -> None:
    configuration = tmp_path / "ssh_config"
    configuration.write_bytes(loopback_pair.client.run("ssh-config", PEER).stdout)
    done = LOCAL.run("ssh", "-F", str(configuration), "-oBatchMode=yes", PEER, "echo configured", check=False)
    assert (done.returncode, done.stdout) == (0, b"configured\n"), done.stderr


def test_bulk_data_passes_both_ways_unharmed(ssh: OpenSSH) -> None:
    data = os.urandom(16_000_000)
    done = ssh.run(PEER, "cat", stdin=data)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


@shows("ssh", "a terminal (`-t`)")
def test_a_terminal(ssh: OpenSSH) -> None:
    done = ssh.run("-tt", PEER, "tty")
    assert done.stdout.startswith(b"/dev/pts/"), done.stderr


@shows("ssh", "`-L`, under the peer's `forward:` capabilities")
def test_local_forwarding_reaches_a_server(ssh: OpenSSH) -> None:
    port = unused_port()
    with tcp_server(echo) as target:
        forward = f"127.0.0.1:{port}:127.0.0.1:{target}"
        with (
            LOCAL.running(*ssh.command, "-N", "-L", forward, PEER, ready=lambda: listens(port)),
            socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection,
        ):
            connection.sendall(b"through ssh -L")
            connection.shutdown(socket.SHUT_WR)
            assert connection.makefile("rb").read() == b"through ssh -L"


def test_forwarding_outside_the_policy_is_prohibited(ssh: OpenSSH) -> None:
    done = ssh.run("-W", FORBIDDEN, PEER)
    assert done.returncode == 255
    assert b"administratively prohibited" in done.stderr


@shows("ssh", "`-R` with a port, port 0, a Unix socket or as a SOCKS server, `-O cancel`, under `listen:` capabilities")
@shows("ssh", "`-D`, `-L` with Unix sockets at both ends")
class TestForwards:
    """``ssh -R``, ``-D`` and Unix sockets, under the same capabilities as irosh's own."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
    @shows("ssh", "`-R`, under the peer's `listen:` capabilities")
    def test_remote_forwarding(self, ssh: OpenSSH, host: str) -> None:
        port = unused_port()
        with (
            tcp_server(echo) as target,
            running_ssh(ssh, "-N", "-R", f"{port}:localhost:{target}", PEER, ready=lambda: listens(port)) as process,
        ):
            data = os.urandom(3_000_000)
            with socket.create_connection((host.strip("[]"), port), TIMEOUT) as connection:
                sent = threading.Thread(target=_send_all, args=(connection, data))
                sent.start()
                assert connection.makefile("rb").read() == data
                sent.join()
            process.terminate()
            wait_until(lambda: not listens(port), what="the host listens no more")

    def test_a_chosen_port_and_cancelling_it(self, ssh: OpenSSH, tmp_path: Path) -> None:
        master = tmp_path / "master"
        shared = ("-S", str(master))
        with (
            tcp_server(echo) as target,
            LOCAL.running(*ssh.command, *shared, "-M", "-N", PEER, ready=master.exists),
        ):
            port = int(ssh.run(*shared, "-O", "forward", "-R", f"0:localhost:{target}", PEER).stdout)
            assert exchange(socket.create_connection(("127.0.0.1", port), TIMEOUT), b"chosen") == b"chosen"
            assert ssh.run(*shared, "-O", "cancel", "-R", f"0:localhost:{target}", PEER).returncode == 0
            wait_until(lambda: not listens(port), what="the host listens no more")
            assert ssh.run(*shared, PEER, "echo alive").stdout == b"alive\n"

    @shows("ssh", "`-R` as a SOCKS server")
    def test_remote_dynamic_forwarding(self, ssh: OpenSSH) -> None:
        check_socks(ssh, "-R")

    @shows("ssh", "`-D`")
    def test_dynamic_forwarding(self, ssh: OpenSSH) -> None:
        check_socks(ssh, "-D")

    @pytest.mark.parametrize("where", ["*:0", "0.0.0.0:0", "192.0.2.1:0", "/tmp/irosh-test.sock"])
    def test_remote_forwarding_outside_the_policy_fails(self, ssh: OpenSSH, where: str) -> None:
        done = ssh.run("-N", "-oExitOnForwardFailure=yes", "-R", f"{where}:127.0.0.1:1", PEER)
        assert done.returncode == 255
        assert b"remote port forwarding failed" in done.stderr

    def test_a_port_that_is_taken(self, ssh: OpenSSH) -> None:
        with tcp_server(echo) as taken:
            done = ssh.run("-v", "-N", "-oExitOnForwardFailure=yes", "-R", f"{taken}:127.0.0.1:1", PEER)
        assert done.returncode == 255
        assert b"is taken" in done.stderr

    @shows("ssh", "`-L` and `-R` with Unix sockets")
    def test_unix_sockets_both_ways(self, loopback_pair: Pair, tmp_path: Path) -> None:
        capabilities = [f"{kind}:unix://{tmp_path}/*.sock" for kind in ("forward", "listen")]
        client = loopback_pair.add_client(tmp_path / "client", allow=capabilities)
        ssh = openssh(client, tmp_path)
        target, here, there = (tmp_path / f"{name}.sock" for name in ("target", "here", "there"))
        forwards = ("-L", f"{here}:{target}", "-R", f"{there}:{target}")
        with (
            unix_server(echo, target),
            running_ssh(ssh, "-N", *forwards, PEER, ready=lambda: here.exists() and there.exists()) as process,
        ):
            assert there.stat().st_mode & 0o777 == 0o600
            for path in (here, there):
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(str(path))
                assert exchange(connection, b"by a path") == b"by a path"
            process.terminate()
            wait_until(lambda: not there.exists(), what="the socket on the host is removed")


def check_socks(ssh: OpenSSH, option: str) -> None:
    """With ``option`` and a port, an echo is reached by SOCKS at that port."""
    port = unused_port()
    with (
        tcp_server(echo) as target,
        LOCAL.running(*ssh.command, "-N", option, str(port), PEER, ready=lambda: listens(port)),
    ):
        connection = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        assert ask_socks(connection, "localhost", target) == 0
        assert exchange(connection, b"through ssh") == b"through ssh"


def running_ssh(
    ssh: OpenSSH, *arguments: str, ready: Callable[[], object]
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A client that is ended by the test, so that its ``irosh proxy`` can tell the host; not killed with its group."""
    return LOCAL.running(*ssh.command, *arguments, ready=ready)


def _send_all(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


@requires("git")
@shows("git", "`clone`, `push`")
def test_git_clones_and_pushes(ssh: OpenSSH, tmp_path: Path) -> None:
    environment = {
        "GIT_SSH_COMMAND": shlex.join(ssh.command),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    author = ("-c", "user.name=A. U. Thor", "-c", "user.email=author@example.org")

    def git(*arguments: str) -> bytes:
        return LOCAL.run("git", *arguments, environment=environment).stdout

    origin, clone = tmp_path / "origin.git", tmp_path / "clone"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git("clone", "--quiet", f"{PEER}:{origin}", str(clone))
    (clone / "data").write_bytes(os.urandom(200_000))
    git("-C", str(clone), "add", "data")
    git("-C", str(clone), *author, "commit", "--quiet", "-m", "data")
    git("-C", str(clone), "push", "--quiet", "origin", "HEAD:main")
    wait_until(lambda: (origin / "refs/heads/main").exists(), what="the push has arrived")
    again = tmp_path / "again"
    git("clone", "--quiet", f"{PEER}:{origin}", str(again))
    assert (again / "data").read_bytes() == (clone / "data").read_bytes()


def test_the_proxy_tells_that_the_host_takes_nothing_more(routed_pair: Pair) -> None:
    with open("/dev/zero", "rb") as zeros:
        done = routed_pair.client.run("proxy", PEER, stdin=zeros)
    assert (done.returncode, done.stdout[:4]) == (1, b"SSH-")
    assert done.stderr == b"irosh: the connection was broken off at its far end\n"
