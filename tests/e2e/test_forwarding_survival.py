"""Forwards go on after the link was lost and found again, and are set up anew when the session has ended."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.forwards import Forwards, ask_socks, exchange, forwarding
from tests.lab.host import Host
from tests.lab.link import Link
from tests.lab.network import Network
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires_netns
from tests.lab.servers import TIMEOUT, tcp_server
from tests.lab.traffic import PATIENCE, first_after, patient_echo, tcp_beats

pytestmark = [pytest.mark.netns, requires_netns()]

IMPATIENT = '[session]\nkeepalive = "2s"\ndead_after = "5s"\nresume = "6s"'


@dataclass(frozen=True)
class Place:
    """Two machines with a router between, an echo server on each, and ``-L``, ``-R`` and ``-D`` from one to the other.

    The forwards are those of L (0), R (1) and D (2).
    """

    pair: Pair
    host: Host
    client: Host
    link: Link
    forwards: Forwards
    there: int

    def connect(self, machine: Host, address: tuple[str, int]) -> socket.socket:
        """A connection on ``machine``."""
        with machine.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(PATIENCE)
        sock.connect(address)
        return sock

    def all_work(self) -> None:
        """Each forward carries a new connection."""
        assert exchange(self.connect(self.client, self.forwards.address(0)), b"by -L") == b"by -L"
        assert exchange(self.connect(self.host, self.forwards.address(1)), b"by -R") == b"by -R"
        by_socks = self.connect(self.client, self.forwards.address(2))
        assert ask_socks(by_socks, "127.0.0.1", self.there) == 0
        assert exchange(by_socks, b"by -D") == b"by -D"


@contextmanager
def forwarded(directory: Path, *, config: str = "") -> Iterator[Place]:
    with Network() as network:
        host, client, router = network.host("host"), network.host("client"), network.router("router")
        network.link(host, router, "10.1.0.0/24")
        link = network.link(client, router, "10.2.0.0/24")
        with pinned_pair(directory, "--no-relay", host_machine=host, client_machine=client, config=config) as pair:
            with host.inside():
                there = tcp_server(patient_echo)
                there_port = there.__enter__()
            with client.inside():
                here = tcp_server(patient_echo)
                here_port = here.__enter__()
            options = ("-L", f"127.0.0.1:0:127.0.0.1:{there_port}", "-R", f"127.0.0.1:0:127.0.0.1:{here_port}")
            with forwarding(pair.client, PEER, *options, "-D", "127.0.0.1:0") as forwards:
                yield Place(pair, host, client, link, forwards, there_port)
            there.__exit__(None, None, None)
            here.__exit__(None, None, None)


def test_open_connections_go_on_after_the_link_was_lost(tmp_path: Path) -> None:
    with forwarded(tmp_path) as place:
        place.all_work()
        with (
            tcp_beats(place.client, place.forwards.address(0)) as local,
            tcp_beats(place.host, place.forwards.address(1)) as remote,
        ):
            place.link.down()
            place.forwards.process.wait_event("lost", timeout=60)
            time.sleep(5)
            # A connection made meanwhile waits for the link.
            early = place.connect(place.host, place.forwards.address(1))
            place.link.up()
            now = time.monotonic()
            for beats in (local, remote):
                first_after(beats, now, timeout=30)
            assert exchange(early, b"meanwhile") == b"meanwhile"
        place.forwards.process.wait_event("resumed")
        place.all_work()


def test_forwards_are_set_up_anew_in_a_new_session(tmp_path: Path) -> None:
    with forwarded(tmp_path, config=IMPATIENT) as place:
        place.all_work()
        place.link.down()
        place.forwards.process.wait_event("lost", timeout=60)
        time.sleep(15)
        place.link.up()
        place.forwards.process.wait_event("restored", timeout=60)
        address = place.forwards.address(1)

        def listens_again() -> bool:
            try:
                return exchange(place.connect(place.host, address), b"again") == b"again"
            except OSError:
                return False

        wait_until(listens_again, timeout=TIMEOUT, what="the host listens at the same port as before")
        place.all_work()
