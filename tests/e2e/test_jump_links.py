"""What goes with ``-J`` because it gives a link as every other: sessions, ``-O``, files, UDP, factors, coming back."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.captured_sessions import ask, begin, open_prompt
from tests.e2e.chain import Chain, chain
from tests.lab.captured import CapturedTerminal
from tests.lab.forwards import exchange
from tests.lab.machine import LOCAL
from tests.lab.processes import wait_until
from tests.lab.requirements import requires
from tests.lab.servers import echo, tcp_server, udp_server
from tests.lab.socks import Association

WAY = ("-J", "one,two")
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """client - one - two - end, on loopback; the client may do all at the end."""
    machines = {"one": LOCAL, "two": LOCAL, "end": LOCAL}
    soon_noticed = '[session]\nkeepalive = "2s"\ndead_after = "8s"\n'
    with chain(tmp_path_factory.mktemp("chain"), LOCAL, machines, config=soon_noticed) as made:
        made.hosts["end"].call("peer", "allow", "client", "all")
        yield made


def test_commands_share_a_link_whether_they_say_the_way_or_not(nodes: Chain) -> None:
    client, end = nodes.client, nodes.hosts["end"]
    with client.start("connect", *WAY, "end", "cat", stdin=-1) as first:
        assert first.wait_event("connected")["via"] == ["one", "two"]
        for words in ((*WAY, "end"), ("end",)):
            assert client.run("connect", "-O", "check", *words).stdout.startswith(b"Master running")
            assert client.run("connect", *words, "echo shared").stdout == b"shared\n"
        error = client.failure("connect", "-O", "check", "-J", "two", "end")
        assert error["code"] == "not-running", "that would be another way"

        ours = {each["peer"]: each for each in client.call("status")["connections"]}
        assert set(ours) == {"one", "two", "end"}
        assert (ours["end"]["via"], ours["end"]["paths"][0]["remote"]) == (["one", "two"], "through one,two")
        (theirs,) = [each for each in end.call("status")["connections"] if each["peer"] == "client"]
        assert (theirs["via"], theirs["direction"]) == (["two"], "incoming")

        with tcp_server(echo) as port:
            added = client.call("connect", "-O", "forward", *WAY, "-L", f"0:127.0.0.1:{port}", "end")
            host, _, listens = added["forwards"][0]["listens"][0].rpartition(":")
            assert exchange(socket.create_connection((host, int(listens)), 20), b"held") == b"held"
        assert client.run("connect", "-O", "exit", *WAY, "end").returncode == 0
        assert first.wait_failure()["code"] == "closed"


def test_a_session_stays_and_is_come_back_to(nodes: Chain) -> None:
    client = nodes.client
    words = ("connect", *WAY, "--session", "work", "end")
    with client.start(*words, "cat", stdin=-1) as first:
        assert first.wait_event("session")["created"]
        first.kill()
    with client.start(*words) as second:
        assert not second.wait_event("session")["created"]
    assert client.call("session", "kill", *WAY, "end", "work")["killed"] == "work"


def test_files_arrive_whole(nodes: Chain, tmp_path: Path) -> None:
    here, there, back = (tmp_path / name for name in ("here", "there", "back"))
    here.write_bytes(os.urandom(4_000_000))
    nodes.client.call("put", *WAY, str(here), f"end:{there}")
    nodes.client.call("get", *WAY, f"end:{there}", str(back))
    digests = {hashlib.blake2b(path.read_bytes()).digest() for path in (here, there, back)}
    assert len(digests) == 1


def test_datagrams_by_socks(nodes: Chain) -> None:
    with (
        nodes.client.start("connect", "-N", *WAY, "-D", "0", "end") as process,
        udp_server(lambda packet, _: packet[::-1]) as port,
    ):
        listens = process.wait_event("forward")["listens"][0]
        host, _, socks = listens.rpartition(":")
        with Association((host, int(socks))) as association:
            for size in (1, 1200, 9000):
                payload = os.urandom(size)
                assert association.ask("localhost", port, payload) == payload[::-1]


def test_second_factors_are_asked_for(nodes: Chain, tmp_path: Path) -> None:
    end, client = nodes.hosts["end"], nodes.client
    program = tmp_path / "askpass"
    program.write_text(f"#!/bin/sh\necho '{PASSWORD}'\n")
    program.chmod(0o700)
    done = end.run("peer", "require", "client", "password", stdin=f"{PASSWORD}\n".encode())
    assert done.returncode == 0, done.stderr
    try:
        assert client.failure("connect", *WAY, "end", "true")["code"] == "factor-required"
        asked = {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
        assert client.run("connect", *WAY, "end", "echo in", environment=asked).stdout == b"in\n"
    finally:
        end.call("peer", "require", "client", "none")


@requires("ssh")
def test_a_port_here_is_the_ssh_server_there(nodes: Chain, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with nodes.client.start("proxy", *WAY, "--listen", f"unix://{path}", "end") as process:
        process.wait_event("ready")
        options = (f"-oProxyCommand=nc -U {path}", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null")
        done = LOCAL.run("ssh", "-F", "none", "-oBatchMode=yes", *options, "end", "echo $IROSH_VIA", check=False)
        assert done.stdout == b"two\n", done.stderr


def test_an_unknown_peer_gets_in_by_a_ticket_and_is_named(nodes: Chain) -> None:
    """The ticket's invite goes past the hop unseen."""
    end, client = nodes.hosts["end"], nodes.client
    ticket = str(end.call("invite", "--allow", "exec")["ticket"])
    own = str(client.call("identity", "show")["id"])
    end.call("peer", "remove", "client")
    client.call("peer", "remove", "end")
    try:
        done = client.run("connect", *WAY, "--name", "end", ticket, "echo $IROSH_VIA")
        assert done.stdout == b"two\n", done.stderr
        assert client.run("connect", *WAY, "end", "echo again").stdout == b"again\n"
    finally:
        (name,) = [each["petname"] for each in end.call("peer", "list")["peers"] if each["id"] == own]
        end.call("peer", "rename", name, "client")
        end.call("peer", "allow", "client", "all")


def test_what_the_prompt_can(nodes: Chain, tmp_path: Path) -> None:
    """``~C`` in a session through hops: a forward of its own, a file, the session shared."""
    (tmp_path / "here").write_bytes(b"put at the prompt")
    with (
        CapturedTerminal((*nodes.client.command, "connect", *WAY, "end")) as terminal,
        tcp_server(echo) as port,
    ):
        begin(terminal)
        open_prompt(terminal)
        said = ask(terminal, f"-L 0:127.0.0.1:{port}", "listens here on")
        listens = re.search(r"listens here on 127\.0\.0\.1:(\d+)", said)
        assert listens is not None, said
        assert exchange(socket.create_connection(("127.0.0.1", int(listens[1])), 20), b"by ~C") == b"by ~C"
        terminal.press(f"put {tmp_path}/here {tmp_path}/there\r".encode())
        wait_until((tmp_path / "there").exists, what="the file is there")  # it appears whole
        assert (tmp_path / "there").read_bytes() == b"put at the prompt"
        ask(terminal, "share", "irosh join")
        terminal.press(b"\r")


def test_a_session_goes_on_when_a_hop_was_killed_and_came_back(nodes: Chain) -> None:
    """The last of this module: the chain is another one then."""
    one = nodes.hosts["one"]
    address = one.call("status")["addresses"][0]
    read, write = os.pipe()
    with open(read, "rb") as stdin, nodes.client.start("connect", *WAY, "end", "cat", stdin=stdin) as process:
        os.write(write, b"before\n")
        process.wait_event("stdout", data="before\n")
        nodes.processes["one"].kill()
        os.write(write, b"meanwhile\n")
        with one.start("host", "--bind", address) as again:
            again.wait_event("ready")
            process.wait_event("stdout", timeout=60, data="meanwhile\n")
            os.close(write)
            assert process.wait_exit() == 0
    wait_until(lambda: not nodes.client.control_socket.exists(), what="the node has ended with its command")
