"""Firewalls let pass what they are told to, and nothing else."""

from __future__ import annotations

import socket

import pytest

from tests.lab.host import Host
from tests.lab.nat import NatKind
from tests.lab.nat_behaviour import Observer
from tests.lab.network import Network
from tests.lab.requirements import requires_netns
from tests.lab.topologies import Internet

pytestmark = [pytest.mark.netns, requires_netns()]


def connects(client: Host, server: Host, port: int) -> bool:
    """Whether a TCP connection can be made, and bytes come back."""
    with server.inside():
        listener = socket.create_server((server.address, port))
    with listener, client.inside(), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.3)
        try:
            sock.connect((server.address, port))
        except TimeoutError:
            return False
        with listener.accept()[0] as accepted:
            accepted.sendall(b"hello")
            return sock.recv(100) == b"hello"


def hears(client: Host, server: Host) -> bool:
    """Whether an answer comes to a UDP packet."""
    with client.udp_socket(timeout=0.3) as here, server.udp_socket(server.address, timeout=0.3) as there:
        here.sendto(b"hello", there.getsockname())
        try:
            there.sendto(*there.recvfrom(100))
            return here.recv(100) == b"hello"
        except TimeoutError:
            return False


def test_udp_is_blocked_and_tcp_is_not() -> None:
    with Network() as network:
        internet = Internet(network)
        office = internet.home("office", NatKind.PORT_RESTRICTED)
        assert hears(office.host, internet.server)
        block = office.router.block_udp()
        assert not hears(office.host, internet.server)
        assert block.dropped() == 1
        assert connects(office.host, internet.server, 443)
        block.lift()
        assert hears(office.host, internet.server)


def test_only_some_ports_of_tcp_are_open() -> None:
    with Network() as network:
        internet = Internet(network)
        office = internet.home("office", NatKind.SYMMETRIC)
        office.router.block_all_but_tcp(80, 443)
        assert connects(office.host, internet.server, 443)
        assert not connects(office.host, internet.server, 8443)
        assert not hears(office.host, internet.server)


def test_a_firewall_before_a_public_address_lets_in_answers_only() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home")
        internet.router.block_inbound(home.host)
        assert hears(home.host, internet.server)
        assert not hears(internet.server, home.host)
        assert not connects(internet.server, home.host, 22)
        with Observer.on(internet.server) as observer, home.host.udp_socket() as client:
            outside = observer.seen(client)
            assert outside == (home.host.address, client.getsockname()[1])
            observer.send(outside, 1, 0)
            observer.send(outside)
            assert client.recv(100) == b"00"


def test_two_hosts_are_kept_apart_by_ipv6_too() -> None:
    with Network() as network:
        one, other, router = network.host("one"), network.host("other"), network.router("router")
        network.link(one, router, "10.1.0.0/24", "2001:db8:1::/64")
        network.link(other, router, "10.2.0.0/24", "2001:db8:2::/64")
        router.drop_udp(one, other)
        with one.udp_socket("::") as here, other.udp_socket(other.address6, timeout=0.3) as there:
            here.sendto(b"hello", there.getsockname()[:2])
            with pytest.raises(TimeoutError):
                there.recv(100)
