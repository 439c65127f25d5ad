"""What a tunnel keeps of UDP: packet boundaries, and which answer belongs to whom; and when it forgets a client."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.irosh_process import IroshProcess, Tunnel
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.servers import udp_server

Address = tuple[str, int]

PATIENCE = 30.0
BURST = 140  # packets of 1,000 bytes; a socket has room for about 90 unless it asks for more
RESEND = 2.0  # seconds without an answer, after which a packet counts as lost
# One that is empty, some that fit a QUIC datagram, the largest that may or may not, and some that never do.
SIZES = (0, 1, 512, 1162, 1200, 1400, 1473, 9_000, 60_000)


@contextmanager
def udp_client(tunnel: Tunnel) -> Iterator[socket.socket]:
    """A socket whose packets go to the tunnel, and which gets only packets from there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(tunnel.address())
        yield sock


def ask(sock: socket.socket, packet: bytes, expected: bytes) -> None:
    """Send ``packet`` until ``expected`` comes back; UDP may lose one, but not change one."""
    deadline = time.monotonic() + PATIENCE
    sock.settimeout(RESEND)
    others = []
    while time.monotonic() < deadline:
        sock.send(packet)
        try:
            while (answer := sock.recv(65_535)) != expected:
                others.append(answer)
        except TimeoutError:
            continue
        return
    raise AssertionError(f"no answer of {len(expected)} bytes, but of {[len(other) for other in others]}")


@contextmanager
def reversing_server() -> Iterator[tuple[int, list[Address]]]:
    """Sends every packet back with its bytes reversed; gives its port, and the list of senders so far."""
    senders: list[Address] = []

    def reverse(packet: bytes, sender: Address) -> bytes:
        senders.append(sender)
        return packet[::-1]

    with udp_server(reverse) as port:
        yield port, senders


@pytest.mark.parametrize("size", SIZES)
def test_packets_keep_their_boundaries(loopback_pair: Pair, size: int) -> None:
    with (
        reversing_server() as (port, _),
        loopback_pair.client.tunnel(PEER, f"udp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
        udp_client(tunnel) as client,
    ):
        for _ in range(3):
            packet = os.urandom(size)
            ask(client, packet, packet[::-1])


def test_packets_of_all_sizes_in_one_association(loopback_pair: Pair) -> None:
    with (
        reversing_server() as (port, senders),
        loopback_pair.client.tunnel(PEER, f"udp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
        udp_client(tunnel) as client,
    ):
        for size in (*SIZES, *reversed(SIZES)):
            packet = os.urandom(size)
            ask(client, packet, packet[::-1])
    assert len(set(senders)) == 1


def test_clients_at_once_get_their_own_answers(loopback_pair: Pair) -> None:
    with (
        reversing_server() as (port, senders),
        loopback_pair.client.tunnel(PEER, f"udp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
        udp_client(tunnel) as one,
        udp_client(tunnel) as other,
    ):
        for number in range(20):
            ask(one, b"one %d" % number, (b"one %d" % number)[::-1])
            ask(other, b"other %d" % number, (b"other %d" % number)[::-1])
    assert len(set(senders)) == 2


@contextmanager
def stalled(process: IroshProcess) -> Iterator[None]:
    """It does nothing in the block, as on a busy machine."""
    process.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.process.send_signal(signal.SIGCONT)


def all_of_a_burst(sock: socket.socket) -> bool:
    """Whether each packet of the burst comes."""
    sock.settimeout(PATIENCE)
    try:
        return {sock.recv(2_000) for _ in range(BURST)} == {b"%1000d" % number for number in range(BURST)}
    except TimeoutError:
        return False


def test_what_comes_while_a_side_is_busy_waits(loopback_pair: Pair) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        for sock in (server, client):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
            sock.settimeout(PATIENCE)
        server.bind(("127.0.0.1", 0))
        with loopback_pair.client.tunnel(PEER, f"udp://127.0.0.1:{server.getsockname()[1]}=127.0.0.1:0") as tunnel:
            client.connect(tunnel.address())
            client.send(b"hello")
            assert server.recv(100) == b"hello"
            with stalled(tunnel.process):
                for number in range(BURST):
                    client.send(b"%1000d" % number)
            assert all_of_a_burst(server)
            client.send(b"and back")
            association = server.recvfrom(100)[1]
            with stalled(loopback_pair.host_process):
                for number in range(BURST):
                    server.sendto(b"%1000d" % number, association)
            assert all_of_a_burst(client)


def associations(port: int) -> int:
    """UDP sockets of this machine that are connected to ``port``; see proc_net_udp(5)."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") for line in lines)


def test_an_idle_association_ends(loopback_pair: Pair) -> None:
    with (
        reversing_server() as (port, senders),
        loopback_pair.client.tunnel(
            PEER, f"udp://127.0.0.1:{port}=127.0.0.1:0", options=["--udp-idle", "1s"]
        ) as tunnel,
        udp_client(tunnel) as client,
    ):
        ask(client, b"first", b"tsrif")
        assert associations(port) == 1
        wait_until(lambda: not associations(port), what="the host has closed the association")
        ask(client, b"second", b"dnoces")
        assert senders[0] != senders[-1], "the second packet went by the association of the first"


def test_a_server_that_is_not_there_yet_is_reached_once_it_is(loopback_pair: Pair) -> None:
    with reversing_server() as (port, _):
        pass
    with (
        loopback_pair.client.tunnel(PEER, f"udp://127.0.0.1:{port}=127.0.0.1:0") as tunnel,
        udp_client(tunnel) as client,
    ):
        client.send(b"to nobody")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
            late.bind(("127.0.0.1", port))
            late.settimeout(RESEND)
            wait_until(lambda: _arrives(client, late), what="a packet has reached the late server")


def _arrives(client: socket.socket, server: socket.socket) -> bool:
    client.send(b"are you there?")
    try:
        return server.recv(100) in (b"are you there?", b"to nobody")
    except TimeoutError:
        return False
