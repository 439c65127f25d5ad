"""``irosh proxy --listen``: the stock programs through a local port, and who may use it."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.irosh_process import IroshProcess
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.lab.servers import unused_port
from tests.support.compatibility import shows

pytestmark = requires("ssh")

NOBODY = 65_534
_GREET = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
with socket.socket() as sock:
    sock.settimeout(20)
    sock.connect(("127.0.0.1", int(sys.argv[2])))
    print(sock.recv(200).decode(errors="replace"))
"""


@contextmanager
def port_of(pair: Pair, *options: str, listen: str = "127.0.0.1:0") -> Iterator[tuple[IroshProcess, int]]:
    with pair.client.start("proxy", "--listen", listen, *options, PEER) as process:
        event = process.wait_event("listening")
        process.wait_event("ready")
        yield process, int(event["listen"].rpartition(":")[2]) if "tcp" in event["listen"] else 0


def ssh(port: int, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    settings = {
        "UserKnownHostsFile": "/dev/null",
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "no",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
        "User": getpass.getuser(),
    }
    given = [f"-o{name}={value}" for name, value in settings.items()]
    return LOCAL.run("ssh", "-F", "none", *given, *options, "-p", str(port), "127.0.0.1", *arguments, check=False)


@shows("ssh", "a command", through="`irosh proxy --listen`")
def test_ssh_by_host_and_port(loopback_pair: Pair) -> None:
    with port_of(loopback_pair) as (_, port):
        for _ in range(2):
            done = ssh(port, "echo over $IROSH_PEER; exit 3")
            assert (done.returncode, done.stdout.startswith(b"over ")) == (3, True), done.stderr


def test_keyscan_sees_the_peers_identity(loopback_pair: Pair) -> None:
    with port_of(loopback_pair) as (_, port):
        scanned = LOCAL.run("ssh-keyscan", "-t", "ed25519", "-p", str(port), "127.0.0.1").stdout
    exported = loopback_pair.client.run("identity", "export-ssh", PEER).stdout
    assert scanned.split()[1:3] == exported.split()[1:3]


def test_the_port_goes_with_the_command(loopback_pair: Pair) -> None:
    with port_of(loopback_pair) as (process, port):
        assert process.stop() == 0
    assert ssh(port, "true").returncode == 255


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_another_user_of_this_machine_is_turned_away(loopback_pair: Pair) -> None:
    with port_of(loopback_pair) as (process, port):
        command = [sys.executable, "-c", _GREET, str(NOBODY), str(port)]
        done = subprocess.run(command, capture_output=True, timeout=30, check=False)
        assert b"SSH" not in done.stdout
        error = process.wait_event("refused")["error"]
        assert error["code"] == "denied"
        assert "another user" in error["message"]
        assert ssh(port, "true").returncode == 0


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_a_port_that_others_could_reach_takes_more_than_a_flag(loopback_pair: Pair, listen: str) -> None:
    client = loopback_pair.client
    assert client.failure("proxy", "--listen", listen, PEER)["code"] == "usage"
    error = client.failure("proxy", "--listen", listen, "--allow-remote", PEER)
    assert error["code"] == "usage"
    assert "--authorized-keys" in error["message"]


@requires("ssh-keygen")
def test_with_a_file_of_keys_one_of_them_is_needed(loopback_pair: Pair, tmp_path: Path) -> None:
    for name in ("known", "foreign"):
        LOCAL.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name))
    keys = str(tmp_path / "known.pub")
    with port_of(loopback_pair, "--authorized-keys", keys, "--allow-remote", listen="0.0.0.0:0") as (process, port):
        assert any(event.get("event") == "warning" for event in process.events)
        only = ("-oIdentitiesOnly=yes", "-oIdentityAgent=none", "-i")
        done = ssh(port, "echo in", options=(*only, str(tmp_path / "known")))
        assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
        done = ssh(port, "echo in", options=(*only, str(tmp_path / "foreign")))
        assert (done.returncode, done.stdout) == (255, b"")
        assert b"Permission denied" in done.stderr


def test_a_file_without_a_usable_key_is_refused(loopback_pair: Pair, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    for content, problem in (("# none\n", "holds no key"), ("command=x ssh-ed25519 AAAA\n", "line 1")):
        keys.write_text(content)
        error = loopback_pair.client.failure("proxy", "--listen", "0", "--authorized-keys", str(keys), PEER)
        assert (error["code"], problem in error["message"]) == ("usage", True)
    assert loopback_pair.client.failure("proxy", "--authorized-keys", str(keys), PEER)["code"] == "usage"


def test_a_unix_socket_that_only_this_user_can_open(loopback_pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "box.sock"
    with port_of(loopback_pair, listen=f"unix://{path}"):
        assert path.stat().st_mode & 0o777 == 0o600
        connect = f"{sys.executable} -c '{_JOIN}' {path}"
        done = ssh(22, "echo in", options=(f"-oProxyCommand={connect}",))
        assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
    assert not path.exists()


_JOIN = (
    "import os, socket, sys, threading; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
    "def up():\n"
    "    while d := os.read(0, 65536): s.sendall(d)\n"
    "threading.Thread(target=up, daemon=True).start()\n"
    "while d := s.recv(65536): os.write(1, d)\n"
)


def test_a_taken_port_and_an_address_that_is_none(loopback_pair: Pair) -> None:
    with port_of(loopback_pair) as (_, port):
        error = loopback_pair.client.failure("proxy", "--listen", f"127.0.0.1:{port}", PEER)
        assert error["code"] == "port-taken"
    for text in ("udp://127.0.0.1:1", "nonsense", "127.0.0.1:99999"):
        assert loopback_pair.client.failure("proxy", "--listen", text, PEER)["code"] == "invalid-address"


def test_a_peer_without_rights_is_told_at_once(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.add_client(tmp_path / "poor", allow=("exec",))
    identity = client.call("identity", "show")["id"]
    loopback_pair.host.call("peer", "revoke", identity)
    loopback_pair.host.call("peer", "allow", identity, "user:nobody", "--replace")
    assert client.failure("proxy", "--listen", "0", PEER)["code"] == "denied"


def test_the_port_outlives_the_host(tmp_path: Path) -> None:
    from tests.lab.pair import pinned_pair

    fixed = f'[network]\nrelays = []\nbind = "127.0.0.1:{unused_port()}"\nstun_servers = []\nmdns = false\n'
    with pinned_pair(tmp_path) as pair:
        # A host that comes back is found where it was.
        pair.host_process.stop()
        (pair.host.state / "config.toml").write_text(fixed)
        with pair.host.host() as first:
            pair.client.run("connect", first.events[0]["ticket"], "true")
            with port_of(pair) as (process, port):
                assert ssh(port, "true").returncode == 0
                first.kill()
                assert ssh(port, "true", options=("-oConnectTimeout=3",)).returncode == 255
                with pair.host.host():
                    process.wait_event("restored", timeout=90)
                    wait_until(lambda: ssh(port, "true").returncode == 0, timeout=60, what="the port leads there again")
