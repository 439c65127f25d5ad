"""Jumps between machines that reach their neighbours only: nodes, real sshds, and what a hop sees."""

from __future__ import annotations

import base64
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.chain import Chain, chain, identity
from tests.lab.capture import captured, memory_contains
from tests.lab.forwards import ask_socks, exchange, forwarding
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.network import Host, Network
from tests.lab.pair import pin
from tests.lab.processes import command_line, wait_until
from tests.lab.requirements import requires, requires_netns
from tests.lab.servers import echo, tcp_server
from tests.lab.sshd import Sshd, new_key, sshd

pytestmark = [pytest.mark.netns, requires_netns(), requires("ssh", "sshd", "ssh-keygen")]

PORT = 2200
NETWORK = "10.3.0.0/24"


@dataclass(frozen=True)
class Lab:
    """client (``near``) - one - two - legacy (sshd only) - end."""

    chain: Chain
    home: Path
    near: Host
    two: Host
    legacy: Host
    server: Sshd
    end: Irosh
    legacy_irosh: Irosh
    key: Path

    @property
    def client(self) -> Irosh:
        return self.chain.client

    def processes(self) -> dict[int, str]:
        """What runs on the machine with sshd: command lines by process id."""
        listed = LOCAL.run("ip", "netns", "pids", self.legacy.namespace).stdout.split()
        commands = {pid: command_line(pid) for pid in map(int, listed)}
        return {pid: words for pid, words in commands.items() if words}

    @property
    def known_hosts(self) -> Path:
        return self.home / ".ssh" / "known_hosts"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("lab")
    home = directory / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    key = new_key(home / ".ssh" / "id_ed25519")
    (home / ".ssh" / "config").write_text(
        f"UserKnownHostsFile {home}/.ssh/known_hosts\nGlobalKnownHostsFile none\nIdentityFile {key}\n"
        "HashKnownHosts no\nUser root\n"
    )
    with Network() as network, ExitStack() as stack:
        client, one, two, legacy, end = (network.host(name) for name in ("client", "one", "two", "legacy", "end"))
        for number, pair in enumerate(((client, one), (one, two), (two, legacy), (legacy, end)), 1):
            network.lan(f"10.{number}.0.0/24", *pair)
        options = ("--no-relay",)
        made = stack.enter_context(
            chain(directory, client, {"one": one, "two": two}, environment={"HOME": str(home)}, options=options)
        )
        made.hosts["two"].call("peer", "allow", "client", "jump", f"gateway:ssh://{NETWORK}:{PORT}")

        last = Irosh(end, directory / "end")
        process = stack.enter_context(last.start("host", *options))
        middle = Irosh(legacy, directory / "legacy-irosh")
        pin(middle, str(process.wait_event("ready")["ticket"]), "end")
        last.call("peer", "add", identity(made.client), "--name", "client", "--allow", "exec", "--allow", "shell")
        made.client.call("peer", "add", identity(last), "--name", "end")

        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
        variables = f"PATH={path} IROSH_STATE={middle.state} PYTHONPATH={os.environ.get('PYTHONPATH', '')}"
        server = stack.enter_context(sshd(directory / "sshd", legacy, PORT, environment=variables))
        server.authorize(key.with_suffix(".pub").read_text())
        yield Lab(made, home, client, two, legacy, server, last, middle, key)


@pytest.fixture
def known(lab: Lab) -> Iterator[Lab]:
    """With the sshd's key in known_hosts."""
    lab.known_hosts.write_text(lab.server.known_hosts_line)
    yield lab
    lab.known_hosts.unlink()


def test_over_two_nodes_to_a_plain_sshd(known: Lab) -> None:
    data = os.urandom(1_000_000)
    done = known.client.run("connect", "-J", "one,two", known.server.url, "cat; echo err >&2; exit 5", stdin=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (5, True, b"err\n")


def test_forwards_at_a_plain_sshd(known: Lab) -> None:
    data = os.urandom(300_000)
    with ExitStack() as stack:
        with known.legacy.inside():
            there = stack.enter_context(tcp_server(echo))
        with known.near.inside():
            here = stack.enter_context(tcp_server(echo))
        specs = ("-L", f"0:127.0.0.1:{there}", "-R", f"0:127.0.0.1:{here}", "-D", "0")
        forwards = stack.enter_context(forwarding(known.client, known.server.url, "-J", "one,two", *specs))
        events = [event for event in forwards.process.events if event.get("event") == "forward"]
        ports = {str(event["kind"]): int(event["listens"][0].rpartition(":")[2]) for event in events}
        with known.near.inside():
            local = socket.create_connection(("127.0.0.1", ports["L"]), 20)
            socks = socket.create_connection(("127.0.0.1", ports["D"]), 20)
        assert exchange(local, data) == data
        assert ask_socks(socks, "localhost", there) == 0
        assert exchange(socks, data) == data
        with known.legacy.inside():
            remote = socket.create_connection(("127.0.0.1", ports["R"]), 20)
        assert exchange(remote, data) == data


def test_over_two_nodes_and_a_plain_sshd_to_a_node(known: Lab) -> None:
    done = known.client.run("connect", "-J", f"one,two,{known.server.url}", "end", "echo $IROSH_PEER; hostname -I")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == [b"client", known.end.machine.address.encode()], done.stdout


@requires("tcpdump")
def test_the_hops_see_ciphertext_only(known: Lab, tmp_path: Path) -> None:
    """A marker goes to the end and back; neither the packets at a hop hold it nor the memory of the hop's node."""
    secret = base64.b64encode(os.urandom(24))
    # Nobody but the two ends may have the marker on a command line either.
    command = "read line; while :; do echo $line; sleep 0.05; done"
    hops = f"one,two,{known.server.url}"
    capture = tmp_path / "capture"
    nodes = {name: process.pid for name, process in known.chain.processes.items()}
    with captured(known.two, capture):
        control = b"control:" + base64.b64encode(os.urandom(12))
        with known.two.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(control, ("127.0.0.1", 9))
            sock.sendto(control, (known.legacy.address, 9))
        read, write = os.pipe()
        with open(read, "rb") as stdin, known.client.start("connect", "-J", hops, "end", command, stdin=stdin) as work:
            os.write(write, secret + b"\n")
            wait_until(lambda: work.output().count(secret.decode()) > 20, what="the marker has come back many times")
            assert memory_contains(work.pid, secret)
            for name, pid in nodes.items():
                assert not memory_contains(pid, secret), f"the node of hop {name} has the plaintext"
            os.close(write)
    packets = capture.read_bytes()
    assert packets.count(control) >= 2, "the capture shows what is not encrypted, on all interfaces"
    assert len(packets) > 20_000
    assert secret not in packets


def test_the_plain_hop_sees_ciphertext_only(known: Lab) -> None:
    """Of all processes on the machine with sshd, `irosh proxy` and sshd's own, which carry it."""
    secret = base64.b64encode(os.urandom(24))
    hops = f"one,two,{known.server.url}"
    command = "read line; while :; do echo $line; sleep 0.05; done"
    read, write = os.pipe()
    with open(read, "rb") as stdin, known.client.start("connect", "-J", hops, "end", command, stdin=stdin) as work:
        os.write(write, secret + b"\n")
        wait_until(lambda: work.output().count(secret.decode()) > 5, what="the marker has come back")
        listed = known.legacy.run("ip", "netns", "pids", known.legacy.namespace).stdout.split()
        assert len(listed) >= 3, "sshd, its session and irosh proxy"
        assert not [pid for pid in map(int, listed) if memory_contains(pid, secret)]
        os.close(write)


def test_the_gateway_leads_where_it_may_and_nowhere_else(known: Lab) -> None:
    two, client = known.chain.hosts["two"], known.client
    for target in (f"ssh://{known.legacy.address}:{PORT + 1}", "ssh://10.9.0.1:2200", "ssh://127.0.0.1:2200"):
        error = client.failure("connect", "-J", "one,two", target, "true")
        assert (error["code"], "from hop two to" in error["message"]) == ("denied", True), error
    two.call("peer", "allow", "client", f"gateway:ssh://{NETWORK}:*")
    error = client.failure("connect", "-J", "one,two", f"ssh://{known.legacy.address}:{PORT + 1}", "true")
    assert error["code"] == "target-refused", error
    with known.legacy.inside():
        listener = socket.create_server((known.legacy.address, PORT + 2))
    with listener:
        error = client.failure(
            "connect", "-J", "one,two", f"ssh://{known.legacy.address}:{PORT + 2}", "true", timeout=90
        )
        assert "is no SSH server" in error["message"], "what says nothing gets nothing"


def test_an_unknown_host_key_is_not_trusted_without_a_word(lab: Lab) -> None:
    lab.known_hosts.unlink(missing_ok=True)
    command = ("connect", "-J", "one,two", lab.server.url, "echo in")
    error = lab.client.failure(*command)
    assert error["code"] == "identity-mismatch"
    assert "SHA256:" in error["message"] or "not accepted" in error["message"]
    assert not lab.known_hosts.exists()
    done = lab.client.run("connect", "--accept-new", *command[1:])
    assert done.stdout == b"in\n", done.stderr
    assert lab.known_hosts.read_text() == lab.server.known_hosts_line
    assert lab.client.run(*command).stdout == b"in\n"


def test_a_changed_host_key_is_refused_whatever_was_said(lab: Lab, tmp_path: Path) -> None:
    other = new_key(tmp_path / "other").with_suffix(".pub").read_text()
    lab.known_hosts.write_text(f"[{lab.server.address}]:{PORT} {other}")
    try:
        for options in ((), ("--accept-new",)):
            error = lab.client.failure("connect", *options, "-J", "one,two", lab.server.url, "true")
            assert (error["code"], "another one than before" in error["message"]) == ("identity-mismatch", True)
    finally:
        lab.known_hosts.unlink()


def test_a_person_is_asked_about_a_new_key(lab: Lab, tmp_path: Path) -> None:
    lab.known_hosts.unlink(missing_ok=True)
    program = tmp_path / "askpass"
    program.write_text(f'#!/bin/sh\nprintf "%s" "$1" > {tmp_path}/asked\necho yes\n')
    program.chmod(0o755)
    environment = {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
    done = lab.client.run("connect", "-J", "one,two", lab.server.url, "echo in", environment=environment)
    assert done.stdout == b"in\n", done.stderr
    asked = (tmp_path / "asked").read_text()
    assert "authenticity" in asked
    assert "SHA256:" in asked
    lab.known_hosts.unlink()


def test_the_identity_is_a_key_too(known: Lab) -> None:
    """Whoever has no other key may put irosh's into authorized_keys."""
    keys = known.server.directory / "authorized_keys"
    before = keys.read_text()
    keys.write_bytes(known.client.run("identity", "export-ssh", "--authorized-key").stdout)
    try:
        assert known.client.run("connect", "-J", "one,two", known.server.url, "echo in").stdout == b"in\n"
        keys.write_text("")
        error = known.client.failure("connect", "-J", "one,two", known.server.url, "true")
        assert error["code"] == "denied"
        assert "refused the login of root" in error["message"]
    finally:
        keys.write_text(before)


def test_a_hop_that_ends_is_named_and_the_session_goes_on(known: Lab) -> None:
    hops = f"one,two,{known.server.url}"
    breaks = (
        (" proxy --on-behalf ", f"from hop {known.server.url} to end"),
        ("sshd: root", f"hop {known.server.url}, behind two"),
    )
    read, write = os.pipe()
    with open(read, "rb") as stdin, known.client.start("connect", "-J", hops, "end", "cat", stdin=stdin) as process:
        for number, (meant, named) in enumerate(breaks):
            os.write(write, f"{number}\n".encode())
            process.wait_event("stdout", data=f"{number}\n")
            for pid in [pid for pid, words in known.processes().items() if meant in words]:
                with suppress(ProcessLookupError):  # it may have ended with the one before
                    os.kill(pid, 9)
            assert named in process.wait_event("lost")["error"]["message"]
            process.wait_event("resumed")
        os.write(write, b"still here\n")
        process.wait_event("stdout", data="still here\n")
        os.close(write)
        assert process.wait_exit() == 0


def test_the_proxy_goes_the_same_ways(known: Lab) -> None:
    """``irosh proxy -J`` for programs that speak SSH themselves."""
    done = known.client.run("proxy", "-J", "one,two", known.server.url, stdin=b"SSH-2.0-test\r\n")
    assert done.stdout.startswith(b"SSH-2.0-OpenSSH"), done.stderr


def test_a_plain_hop_without_irosh_says_so(known: Lab) -> None:
    stranger = identity(Irosh(known.client.machine, known.home / "stranger"))
    error = known.client.failure("connect", "-J", f"one,two,{known.server.url}", stranger, "true")
    assert f"from hop {known.server.url} to {stranger[:10]}" in error["message"]
    assert "no peer" in error["message"] or "not" in error["message"], error


def test_a_gateway_shows_the_machines_of_its_list(known: Lab, tmp_path: Path) -> None:
    """Those the peer may go on to, and no others; they are reached by name."""
    one, client = known.chain.hosts["one"], known.client
    one.call("peer", "allow", "client", "gateway:ssh://10.2.0.0/24:*")
    machines = tmp_path / "machines"
    with sshd(tmp_path / "sshd", known.two, PORT) as server:
        server.authorize(known.key.with_suffix(".pub").read_text())
        with known.known_hosts.open("a") as file:
            file.write(server.known_hosts_line)
        machines.write_text(f"# legacy\nprinter ssh://root@{server.address}:{PORT}\nsecret ssh://root@10.3.0.2:22\n")
        with one.start("gateway", "serve", "--list", str(machines)) as process:
            assert process.wait_event("serving")["names"] == ["printer", "secret"]
            answer = client.call("gateway", "list", "one")
            assert answer["names"] == {"printer": f"ssh://root@{server.address}:{PORT}"}
            done = client.run("connect", "one/printer", "echo in; exit 6")
            assert (done.returncode, done.stdout) == (6, b"in\n"), done.stderr
            error = client.failure("connect", "one/secret", "true")
            assert (error["code"], "serves no machine named 'secret'" in error["message"]) == ("unknown-target", True)
        assert client.call("gateway", "list", "one")["names"] == {}
