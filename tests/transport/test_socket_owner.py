"""Whose the other end of a local connection is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from irosh.transport.socket_owner import in_this_process, is_own, owner_of
from tests.lab.network import Network
from tests.lab.requirements import requires_netns

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

NOBODY = 65_534
_CONNECT = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
with socket.socket(family) as sock:
    sock.connect((sys.argv[2], int(sys.argv[3])))
    sock.recv(1)
"""


def accepted(listener: socket.socket, uid: int, address: str) -> int | None:
    """What is said of a connection that a process of user ``uid`` makes."""
    port = listener.getsockname()[1]
    with subprocess.Popen([sys.executable, "-c", _CONNECT, str(uid), address, str(port)]) as process:
        try:
            connection, _ = listener.accept()
            with connection:
                assert is_own(connection) == (uid in (os.geteuid(), 0))
                return owner_of(connection)
        finally:
            process.wait()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_our_own_connection(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        assert accepted(listener, os.geteuid(), address) == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
@pytest.mark.parametrize(("bound", "address"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")])
def test_that_of_another_user(bound: str, address: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    dual = bound == "::"
    with socket.create_server((bound, 0), family=family, dualstack_ipv6=dual) as listener:
        assert accepted(listener, NOBODY, address) == NOBODY


def test_one_that_has_gone_is_nobodys() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with connection:
            assert owner_of(connection) is None
            assert not is_own(connection)


def test_a_unix_socket(tmp_path: Path) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert owner_of(one) == os.geteuid()


@pytest.mark.netns
@requires_netns()
def test_a_connection_from_another_machine_is_nobodys() -> None:
    with Network() as network:
        alice, bob = network.host("alice"), network.router("bob")
        network.link(alice, bob, "10.1.0.0/24")
        with alice.inside(), socket.create_server((alice.address, 0)) as listener:
            with bob.inside():
                client = socket.create_connection(listener.getsockname())
            connection, _ = listener.accept()
            with client, connection:
                assert owner_of(connection) is None


def test_whether_a_unix_socket_leads_to_this_process(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    program = "import socket, sys; sock = socket.socket(socket.AF_UNIX); sock.connect(sys.argv[1]); sock.recv(1)"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as ours:
        listener.bind(path)
        listener.listen()
        ours.connect(path)
        with listener.accept()[0] as connection:
            assert in_this_process(connection)
        with subprocess.Popen([sys.executable, "-c", program, path]), listener.accept()[0] as connection:
            assert not in_this_process(connection)
