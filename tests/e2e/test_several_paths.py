"""A client with two networks: bulk over both at once, small things twice, and what happens when one of them dies."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.host import Host
from tests.lab.irosh_process import Tunnel
from tests.lab.link import Link
from tests.lab.network import Network
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires_netns

pytestmark = [pytest.mark.netns, requires_netns()]

KEYSTROKE = 0.01
DATA = os.urandom(1_000_000) * 24


@dataclass(frozen=True)
class TwoNetworks:
    """The client is on ``first``, which the system prefers, and on ``second``. ``port``: a server beside the host."""

    pair: Pair
    first: Link
    second: Link
    port: int

    @property
    def client_machine(self) -> Host:
        assert isinstance(self.pair.client.machine, Host)
        return self.pair.client.machine

    def carriers(self) -> list[dict[str, Any]]:
        """Those of the client's only session."""
        connections = self.pair.client.call("status")["connections"]
        return list(connections[0]["carriers"]) if connections else []

    @contextlib.contextmanager
    def tunnel(self, paths: str, carriers: int = 2) -> Iterator[Tunnel]:
        """To the server, once there are so many carriers."""
        source = f"tcp://127.0.0.1:{self.port}=127.0.0.1:0"
        with self.pair.client.tunnel(PEER, source, options=["--paths", paths]) as tunnel:
            wait_until(lambda: len(self.carriers()) == carriers, what=f"{carriers} carriers")
            yield tunnel

    def connect(self, tunnel: Tunnel) -> socket.socket:
        """To the server, through the tunnel."""
        with self.client_machine.inside():
            return socket.create_connection(tunnel.address(), timeout=60)


@pytest.fixture
def two_networks(tmp_path: Path) -> Iterator[TwoNetworks]:
    with Network() as network:
        alice, bob, router = network.host("alice"), network.host("bob"), network.router("router")
        network.link(alice, router, "10.1.0.0/24")
        first, second = network.link(bob, router, "10.2.0.0/24"), network.link(bob, router, "10.3.0.0/24")
        with (
            pinned_pair(tmp_path, "--no-relay", host_machine=alice, client_machine=bob) as pair,
            serving(alice) as port,
        ):
            yield TwoNetworks(pair, first, second, port)


@contextlib.contextmanager
def serving(machine: Host) -> Iterator[int]:
    """A TCP server on the machine's loopback: ``d`` brings the data, ``u`` takes it and says its hash, ``e`` echoes."""
    with machine.inside():
        server = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            wish = client.recv(1)
            if wish == b"d":
                client.sendall(DATA)
            elif wish == b"u":
                client.sendall(hash_of(client))
            while wish == b"e" and (data := client.recv(65536)):
                client.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def hash_of(sock: socket.socket) -> bytes:
    digest = hashlib.sha256()
    while data := sock.recv(1 << 20):
        digest.update(data)
    return digest.digest()


def moved(carrier: dict[str, Any]) -> int:
    return sum(path["bytes_sent"] + path["bytes_received"] for path in carrier["paths"])


def shape_both(networks: TwoNetworks) -> None:
    """Round trips of 20 and 60 ms."""
    networks.first.shape(delay=10, rate="40mbit")
    networks.second.shape(delay=30, rate="40mbit")


def download(networks: TwoNetworks, tunnel: Tunnel) -> bytes:
    with networks.connect(tunnel) as sock:
        sock.sendall(b"d")
        return hash_of(sock)


def upload(networks: TwoNetworks, tunnel: Tunnel) -> bytes:
    with networks.connect(tunnel) as sock:
        sock.sendall(b"u" + DATA)
        sock.shutdown(socket.SHUT_WR)
        return sock.recv(64)


def test_bulk_goes_over_both_networks(two_networks: TwoNetworks) -> None:
    shape_both(two_networks)
    with two_networks.tunnel("all") as tunnel:
        assert download(two_networks, tunnel) == hashlib.sha256(DATA).digest()
        assert upload(two_networks, tunnel) == hashlib.sha256(DATA).digest()
        shares = [moved(carrier) for carrier in two_networks.carriers()]
        assert min(shares) > sum(shares) / 4, shares
        assert len({carrier["local"] for carrier in two_networks.carriers()} - {None}) == 2


@pytest.mark.parametrize("seen", [True, False], ids=["unplugged", "silent"])
@pytest.mark.parametrize("which", ["first", "second"])
def test_a_transfer_over_both_survives_the_loss_of_one(two_networks: TwoNetworks, which: str, *, seen: bool) -> None:
    shape_both(two_networks)
    link: Link = getattr(two_networks, which)
    with two_networks.tunnel("all") as tunnel, two_networks.connect(tunnel) as sock:
        sock.sendall(b"d")
        digest = hashlib.sha256()
        received = 0
        silence = 0.0
        while True:
            began = time.monotonic()
            data = sock.recv(1 << 20)
            if received:
                silence = max(silence, time.monotonic() - began)
            if not data:
                break
            digest.update(data)
            if received < len(DATA) // 3 <= received + len(data):
                if seen:
                    link.down()
                else:
                    link.shape(loss=1.0)
            received += len(data)
        assert digest.digest() == hashlib.sha256(DATA).digest()
        assert silence < 5, f"the transfer stood still for {silence:.1f} s"


def test_keystrokes_do_not_notice_the_loss_of_a_network(two_networks: TwoNetworks) -> None:
    two_networks.first.shape(delay=10)
    two_networks.second.shape(delay=15)
    with two_networks.tunnel("redundant") as tunnel, two_networks.connect(tunnel) as sock:
        sock.sendall(b"e")
        before = longest_silence(sock, 2.0)
        cut = threading.Timer(0.7, lambda: two_networks.first.shape(loss=1.0))
        cut.start()
        after = longest_silence(sock, 3.0)
        cut.join()
    assert after < max(0.05, 2 * before), f"{after * 1000:.0f} ms without an echo, before the cut {before * 1000:.0f}"


def longest_silence(sock: socket.socket, seconds: float) -> float:
    """Of an echo of what is typed every 10 ms."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    count = int(seconds / KEYSTROKE)

    def type_keys() -> None:
        began = time.monotonic()
        for number in range(count):
            time.sleep(max(0.0, began + number * KEYSTROKE - time.monotonic()))
            sock.sendall(b"k")

    typing = threading.Thread(target=type_keys)
    typing.start()
    received = 0
    longest = 0.0
    last: float | None = None
    while received < count:
        received += len(sock.recv(4096))
        now = time.monotonic()
        longest = max(longest, now - last) if last is not None else 0.0
        last = now
    typing.join()
    return longest


@pytest.mark.parametrize("paths", ["all", "redundant"])
def test_shells_and_udp_go_over_several_paths_too(two_networks: TwoNetworks, paths: str) -> None:
    done = two_networks.pair.client.run("connect", "--paths", paths, PEER, "head -c 3000000 /dev/zero | cat; cat >&2")
    assert (done.returncode, len(done.stdout)) == (0, 3_000_000), done.stderr
    assert isinstance(two_networks.pair.host.machine, Host)
    with two_networks.pair.host.machine.udp_socket("127.0.0.1") as server:
        source = f"udp://127.0.0.1:{server.getsockname()[1]}=127.0.0.1:0"
        options = ["--paths", paths]
        with (
            two_networks.pair.client.tunnel(PEER, source, options=options) as tunnel,
            two_networks.client_machine.udp_socket() as client,
        ):
            wait_until(lambda: len(two_networks.carriers()) == 2, what="both networks are used")
            for number in range(50):
                client.sendto(b"%d" % number, tunnel.address())
                packet, sender = server.recvfrom(100)
                assert packet == b"%d" % number
                server.sendto(packet, sender)
                assert client.recv(100) == packet


def test_a_network_that_comes_later_is_used_too(two_networks: TwoNetworks) -> None:
    two_networks.second.down()
    with two_networks.tunnel("all", carriers=1):
        two_networks.second.up()
        wait_until(lambda: len(two_networks.carriers()) == 2, what="the second network is used")
        two_networks.second.down()
        wait_until(lambda: len(two_networks.carriers()) == 1, what="the second network is given up")
        two_networks.second.up()
        wait_until(lambda: len(two_networks.carriers()) == 2, what="the second network is used again")
