"""``-J``: through nodes and ordinary SSH servers to a target that only the last hop reaches."""

from __future__ import annotations

import getpass
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.chain import Chain, chain, identity
from tests.lab.machine import LOCAL
from tests.lab.requirements import requires
from tests.lab.ssh_agent import ssh_agent
from tests.lab.sshd import new_key


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
        assert (error["code"], "from hop two to end" in error["message"]) == ("denied", True)
        assert f"irosh peer add {identity(client)}" in error["hint"]
    finally:
        end.call("peer", "add", identity(client), "--name", "client", "--allow", "shell", "--allow", "exec")


def test_revoking_ends_what_came_through_a_hop_at_once(nodes: Chain) -> None:
    end, client = nodes.hosts["end"], nodes.client
    with client.start("connect", "-J", "one,two", "end", "echo ready; sleep 600") as process:
        process.wait_event("stdout")
        answer = end.call("peer", "revoke", "client")
        try:
            assert answer["connections_closed"] == 1
            error = process.wait_failure()
            assert error["code"] == "connection-lost"
            assert "revoked" in error["message"]
        finally:
            end.call("peer", "allow", "client", "shell", "exec", "agent", "files")


def test_the_audit_of_the_target_names_who_came_and_through_whom(nodes: Chain) -> None:
    nodes.client.run("connect", "-J", "one,two", "end", "true")
    entries = nodes.hosts["end"].call("audit", "--peer", "client", "--limit", "20")["entries"]
    assert ("connect", "accepted", "through two") in [
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


@requires("ssh-agent", "ssh-add", "ssh-keygen")
def test_the_agent_is_offered_to_the_last_one(nodes: Chain) -> None:
    nodes.hosts["end"].call("peer", "allow", "client", "agent", "exec")
    with tempfile.TemporaryDirectory(prefix="irosh-agent-test-") as directory, ssh_agent(Path(directory)) as agent:
        command = ("connect", "-A", "-J", "one,two", "end", "ssh-add -L")
        done = nodes.client.run(*command, environment=agent.environment)
        assert agent.blob.encode() in done.stdout, done.stderr


@requires("ssh")
class TestStockSSH:
    """``ssh`` through ``irosh proxy -J``, with irosh's key as the user's."""

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
            "IdentitiesOnly": "yes",
            "IdentityFile": str(client.state / "identity.key"),
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

    def test_another_key_is_refused(self, ssh: tuple[str, ...], tmp_path: Path) -> None:
        key = new_key(tmp_path / "foreign")
        others = (word for word in ssh if "IdentityFile" not in word)
        done = LOCAL.run(*others, "-i", str(key), "end", "true", check=False)
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr

    def test_what_the_hop_may_do_is_not_what_its_guest_may(self, nodes: Chain, ssh: tuple[str, ...]) -> None:
        nodes.hosts["end"].call("peer", "allow", "two", "all")
        forwards = (("-N", "-oExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:1"), ("-W", "127.0.0.1:22"))
        for options in forwards:
            done = LOCAL.run(*ssh, *options, "end", check=False)
            assert done.returncode == 255, options
            assert b"forwarding failed" in done.stderr or b"prohibited" in done.stderr, done.stderr
        done = LOCAL.run(ssh[0], "-oUser=nobody", *ssh[1:], "end", "true", check=False)
        assert b"Permission denied" in done.stderr

    def test_ssh_jumps_by_itself(self, nodes: Chain, ssh: tuple[str, ...], tmp_path: Path) -> None:
        """A node takes NAME.irosh for its peer, so ``ssh -J`` needs irosh for the first hop only."""
        client = nodes.client
        known_hosts = tmp_path / "known"
        for name in ("one", "two"):
            line = client.run("identity", "export-ssh", name).stdout.decode()
            with known_hosts.open("a") as file:
                file.write(line.replace(name, f"{name}.irosh" if name == "two" else name, 1))
        configuration = tmp_path / "config"
        configuration.write_text(
            f"Host one\n  ProxyCommand {shlex.join(client.command)} proxy one\n"
            f"Host *\n  UserKnownHostsFile {known_hosts}\n  IdentityFile {client.state}/identity.key\n"
            f"  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n  BatchMode yes\n"
        )
        nodes.hosts["two"].call("peer", "allow", "client", "exec")
        done = LOCAL.run("ssh", "-F", str(configuration), "-J", "one", "two.irosh", "echo $IROSH_VIA", check=False)
        assert (done.returncode, done.stdout) == (0, b"one\n"), done.stderr
