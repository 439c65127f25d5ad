"""``-J``: through nodes and ordinary SSH servers to a target that only the last hop reaches."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.chain import Chain, chain, identity
from tests.lab.forwards import ask_socks, exchange, forwarding
from tests.lab.machine import LOCAL
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.lab.servers import echo, listens, tcp_server, unix_server, unused_port
from tests.lab.ssh_agent import ssh_agent
from tests.lab.sshd import new_key

DATA = os.urandom(300_000)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """client - one - two - end, on loopback."""
    machines = {"one": LOCAL, "two": LOCAL, "end": LOCAL}
    with chain(tmp_path_factory.mktemp("chain"), LOCAL, machines) as made:
        yield made


def test_over_one_hop(nodes: Chain) -> None:
    done = nodes.client.run("connect", "-J", "one", "two", "true")
    assert done.returncode == 255, "a hop is no target: the client may only pass there"
    nodes.hosts["two"].call("peer", "allow", "client", "exec")
    done = nodes.client.run("connect", "-J", "one", "two", "echo I am $IROSH_PEER through $IROSH_VIA; exit 3")
    assert (done.returncode, done.stdout.split()[:3]) == (3, [b"I", b"am", b"client"]), done.stderr


def test_over_two_hops(nodes: Chain) -> None:
    data = os.urandom(3_000_000)
    done = nodes.client.run("connect", "-J", "one,two", "end", "cat; echo err >&2; exit 4", stdin=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (4, True, b"err\n")


def test_what_a_hop_is_not_granted_it_does_not_do(nodes: Chain) -> None:
    one, client = nodes.hosts["one"], nodes.client
    one.call("peer", "allow", "client", "exec", "--replace")
    try:
        error = client.failure("connect", "-J", "one", "two", "true")
        assert (error["code"], "from hop one to two" in error["message"]) == ("denied", True)
        assert "jump" in error["hint"]
    finally:
        one.call("peer", "allow", "client", "jump", "--replace")


def test_the_second_hop_says_so_too(nodes: Chain) -> None:
    two, client = nodes.hosts["two"], nodes.client
    before = [str(each) for each in two.call("peer", "show", "client")["peer"]["capabilities"]]
    two.call("peer", "allow", "client", "exec", "--replace")
    try:
        error = client.failure("connect", "-J", "one,two", "end", "true")
        assert (error["code"], "from hop two to end" in error["message"]) == ("denied", True), error
    finally:
        two.call("peer", "allow", "client", "--replace", *before)


def test_who_brings_others_does_not_vouch_for_them(nodes: Chain) -> None:
    """The target knows the hop, which may do everything there, but not whom it brings."""
    end, client = nodes.hosts["end"], nodes.client
    end.call("peer", "allow", "two", "all")
    end.call("peer", "remove", "client")
    try:
        error = client.failure("connect", "-J", "one,two", "end", "true")
        assert (error["code"], "from hop two to end" in error["message"]) == ("unknown-peer", True)
        assert f"irosh peer add {identity(client)}" in error["hint"]
    finally:
        end.call("peer", "add", identity(client), "--name", "client", "--allow", "shell", "--allow", "exec")


def test_revoking_ends_what_came_through_a_hop_at_once(nodes: Chain) -> None:
    end, client = nodes.hosts["end"], nodes.client
    with client.start("connect", "-J", "one,two", "end", "echo ready; sleep 600") as process:
        process.wait_event("stdout")
        answer = end.call("peer", "revoke", "client")
        try:
            assert answer["connections_closed"] >= 1  # those of tests before may just be ending
            error = process.wait_failure()
            assert (error["code"], "revoked" in error["message"]) == ("revoked", True)
        finally:
            end.call("peer", "allow", "client", "shell", "exec", "agent", "files")


def test_the_audit_of_the_target_names_who_came_and_through_whom(nodes: Chain) -> None:
    nodes.client.run("connect", "-J", "one,two", "end", "true")
    entries = nodes.hosts["end"].call("audit", "--peer", "client", "--limit", "20")["entries"]
    assert ("connect", "accepted", "client, through two") in [
        (entry["event"], entry["outcome"], entry["detail"]) for entry in entries
    ]


def test_a_target_must_be_known_by_its_key(nodes: Chain) -> None:
    error = nodes.client.failure("connect", "-J", "one", "nobody", "true")
    assert (error["code"], "key could not be checked" in error["message"]) == ("unknown-target", True)
    stranger = "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"
    error = nodes.client.failure("connect", "-J", "one", stranger, "true")
    assert (error["code"], "is no peer of this host" in error["message"]) == ("unknown-target", True)


def test_the_target_by_its_id_alone(nodes: Chain) -> None:
    done = nodes.client.run("connect", "-J", "one,two", identity(nodes.hosts["end"]), "echo by id")
    assert done.stdout == b"by id\n", done.stderr


@pytest.mark.parametrize(
    ("hops", "target", "problem"),
    [
        ("one,two,one", "end", "twice"),
        ("one,end", "end", "twice"),
        (",".join(f"ssh://h{number}" for number in range(9)), "end", "too many"),
        ("one,,two", "end", "names no hop"),
    ],
)
def test_ways_that_make_no_sense(nodes: Chain, hops: str, target: str, problem: str) -> None:
    error = nodes.client.failure("connect", "-J", hops, target, "true")
    assert (error["code"], problem in error["message"]) == ("usage", True), error


def test_a_hop_by_two_spellings_is_one(nodes: Chain) -> None:
    two = identity(nodes.hosts["two"])
    error = nodes.client.failure("connect", "-J", f"one,two,{two}", "end", "true")
    assert (error["code"], "twice" in error["message"]) == ("usage", True), error


class TestForwards:
    """``-L``, ``-D``, ``-R`` and ``-W`` over one hop, by the SSH connection to the target."""

    WAY = ("-J", "one")

    @pytest.fixture
    def end(self, nodes: Chain) -> Iterator[str]:
        two = nodes.hosts["two"]
        before = [str(each) for each in two.call("peer", "show", "client")["peer"]["capabilities"]]
        two.call("peer", "allow", "client", "all", "--replace")
        yield "two"
        two.call("peer", "allow", "client", "--replace", *before)

    def test_local(self, nodes: Chain, end: str, tmp_path: Path) -> None:
        there, here = tmp_path / "there.sock", tmp_path / "here.sock"
        with tcp_server(echo) as port, unix_server(echo, there):
            specs = ("-L", f"0:127.0.0.1:{port}", "-L", f"{here}:{there}")
            with forwarding(nodes.client, end, *self.WAY, *specs) as forwards:
                assert exchange(forwards.connect(0, 0), DATA) == DATA
                assert exchange(forwards.connect(0, 1), DATA) == DATA
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(here))
                    assert exchange(connection, DATA) == DATA
            assert not here.exists()

    @requires("curl")
    def test_dynamic(self, nodes: Chain, end: str) -> None:
        def answer(connection: socket.socket) -> None:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nby SOCKS")

        with tcp_server(answer) as port, forwarding(nodes.client, end, *self.WAY, "-D", "0") as forwards:
            host, socks = forwards.address()
            url = f"http://localhost:{port}/"
            done = LOCAL.run("curl", "-s", "--noproxy", "", "--socks5-hostname", f"{host}:{socks}", url, check=False)
            assert done.stdout == b"by SOCKS", done
            with forwards.connect() as refused:
                assert ask_socks(refused, "localhost", unused_port()) != 0

    def test_remote(self, nodes: Chain, end: str) -> None:
        with tcp_server(echo) as port:
            specs = ("-R", f"0:127.0.0.1:{port}", "-R", "127.0.0.1:0")
            with forwarding(nodes.client, end, *self.WAY, *specs) as forwards:
                assert exchange(forwards.connect(0), DATA) == DATA
                socks = forwards.connect(1)
                assert ask_socks(socks, "localhost", port) == 0
                assert exchange(socks, DATA) == DATA
                listened = forwards.address(1)[1]
            wait_until(lambda: not listens(listened), what="the target listens no more")

    def test_beside_a_command(self, nodes: Chain, end: str) -> None:
        with tcp_server(echo) as port:
            here = unused_port()
            command = f"exec 3<>/dev/tcp/127.0.0.1/{here}; echo through >&3; head -n1 <&3; exit 5"
            words = ("-L", f"{here}:127.0.0.1:{port}", end, f"bash -c {shlex.quote(command)}")
            done = nodes.client.run("connect", *self.WAY, *words)
        assert (done.returncode, done.stdout) == (5, b"through\n"), done.stderr
        assert not listens(here)

    def test_standard_input_and_output(self, nodes: Chain, end: str) -> None:
        with tcp_server(echo) as port:
            done = nodes.client.run("connect", *self.WAY, "-W", f"127.0.0.1:{port}", end, stdin=DATA)
        assert (done.returncode, done.stdout == DATA) == (0, True), done.stderr

    def test_a_port_that_is_taken_there(self, nodes: Chain, end: str) -> None:
        with tcp_server(echo) as taken:
            spec = ("-R", f"127.0.0.1:{taken}:127.0.0.1:1")
            error = nodes.client.failure("connect", "-N", "-oExitOnForwardFailure=yes", *self.WAY, *spec, end)
        assert (error["code"], f"-R {spec[1]}" in error["message"]) == ("port-taken", True), error

    def test_what_the_target_does_not_allow(self, nodes: Chain, end: str) -> None:
        nodes.hosts["two"].call("peer", "allow", "client", "exec", "--replace")
        error = nodes.client.failure(
            "connect", "-N", "-oExitOnForwardFailure=yes", *self.WAY, "-L", "0:127.0.0.1:9", end
        )
        assert (error["code"], "-L 0:127.0.0.1:9" in error["message"]) == ("denied", True), error

    def test_revoking_ends_them(self, nodes: Chain, end: str) -> None:
        with forwarding(nodes.client, end, *self.WAY, "-D", "0") as forwards:
            nodes.hosts["two"].call("peer", "revoke", "client")
            assert forwards.process.wait_failure()["code"] == "revoked"


@requires("ssh-agent", "ssh-add", "ssh-keygen")
def test_the_agent_is_offered_to_the_last_one(nodes: Chain) -> None:
    nodes.hosts["end"].call("peer", "allow", "client", "agent", "exec")
    with tempfile.TemporaryDirectory(prefix="irosh-agent-test-") as directory, ssh_agent(Path(directory)) as agent:
        command = ("connect", "-A", "-J", "one,two", "end", "ssh-add -L")
        done = nodes.client.run(*command, environment=agent.environment)
        assert agent.blob.encode() in done.stdout, done.stderr


@requires("ssh")
class TestStockSSH:
    """``ssh`` through ``irosh proxy -J``, and by itself."""

    @pytest.fixture
    def ssh(self, nodes: Chain, tmp_path: Path) -> tuple[str, ...]:
        client = nodes.client
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_bytes(client.run("identity", "export-ssh", "end").stdout)
        settings = {
            "ProxyCommand": f"{shlex.join(client.command)} proxy -J one,two %h",
            "UserKnownHostsFile": str(known_hosts),
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "IdentityFile": "none",
            "User": getpass.getuser(),
        }
        return ("ssh", "-F", "none", *(f"-o{name}={value}" for name, value in settings.items()))

    def test_a_command(self, ssh: tuple[str, ...]) -> None:
        done = LOCAL.run(*ssh, "end", "echo $IROSH_PEER; exit 3", check=False)
        assert (done.returncode, done.stdout) == (3, b"client\n"), done.stderr

    @requires("sftp")
    def test_sftp(self, nodes: Chain, ssh: tuple[str, ...], tmp_path: Path) -> None:
        nodes.hosts["end"].call("peer", "allow", "client", "files")
        (tmp_path / "here").write_bytes(os.urandom(300_000))
        batch = f"put {tmp_path}/here {tmp_path}/there\n".encode()
        done = LOCAL.run("sftp", *ssh[1:], "-b", "-", "end", stdin=batch, check=False)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()

    def test_what_the_hop_may_do_is_not_what_its_guest_may(self, nodes: Chain, ssh: tuple[str, ...]) -> None:
        nodes.hosts["end"].call("peer", "allow", "two", "all")
        forwards = (("-N", "-oExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:1"), ("-W", "127.0.0.1:22"))
        for options in forwards:
            done = LOCAL.run(*ssh, *options, "end", check=False)
            assert done.returncode == 255, options
            assert b"forwarding failed" in done.stderr or b"prohibited" in done.stderr, done.stderr
        done = LOCAL.run(ssh[0], "-oUser=nobody", *ssh[1:], "end", "true", check=False)
        assert b"Permission denied" in done.stderr

    def test_ssh_jumps_by_itself(self, nodes: Chain, tmp_path: Path) -> None:
        """A node takes NAME.irosh for its peer, so ``ssh -J`` needs irosh for the first hop only."""
        client = nodes.client
        nodes.hosts["two"].call("peer", "allow", "client", "exec")
        for key, end in ((client.state / "identity.key", (0, b"one\n")), (new_key(tmp_path / "foreign"), (255, b""))):
            known_hosts = tmp_path / "known"
            known_hosts.write_text("")
            for name in ("one", "two"):
                line = client.run("identity", "export-ssh", name).stdout.decode()
                with known_hosts.open("a") as file:
                    file.write(line.replace(name, f"{name}.irosh" if name == "two" else name, 1))
            configuration = tmp_path / "config"
            configuration.write_text(
                f"Host one\n  ProxyCommand {shlex.join(client.command)} proxy one\n"
                f"Host *\n  UserKnownHostsFile {known_hosts}\n  IdentityFile {key}\n"
                f"  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
            )
            done = LOCAL.run("ssh", "-F", str(configuration), "-J", "one", "two.irosh", "echo $IROSH_VIA", check=False)
            assert (done.returncode, done.stdout) == end, done.stderr
            assert (b"Permission denied" in done.stderr) == (end[0] != 0), done.stderr
