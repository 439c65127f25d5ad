"""Links fail, change and come back; hosts with several use the right one; what is made is removed."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.lab.host import Host
from tests.lab.nat import NatKind
from tests.lab.nat_behaviour import Observer
from tests.lab.network import Network
from tests.lab.processes import processes_with
from tests.lab.requirements import requires_netns, requires_shaping
from tests.lab.topologies import Home, Internet

pytestmark = [pytest.mark.netns, requires_netns()]

IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # linux/in.h


def reaches(sender: Host, receiver: Host, address: str | None = None, *, size: int = 10, source: str = "") -> bool:
    """Whether a packet passes from one host to another that has to be told at once when it does not."""
    address = address or receiver.address
    with (
        sender.udp_socket(source or ("::" if ":" in address else "")) as here,
        receiver.udp_socket(address, timeout=0.3) as there,
    ):
        try:
            here.sendto(bytes(size), (address, there.getsockname()[1]))
            return len(there.recv(65_535)) == size
        except OSError:  # also a timeout
            return False


def test_a_link_that_is_down_is_noticed_and_comes_back() -> None:
    with Network() as network:
        internet = Internet(network, ipv6=True)
        home = internet.home("home", ipv6=True)
        host, server = home.host, internet.server
        assert reaches(host, server)
        home.link.down()
        with host.udp_socket() as sock, pytest.raises(OSError, match="unreachable"):
            sock.sendto(b"x", (server.address, 9))
        assert home.link.address not in host.ip("address", "show")
        home.link.up()
        assert reaches(host, server)
        assert reaches(server, host)
        assert reaches(host, server, server.address6)


def test_a_host_changes_its_address() -> None:
    with Network() as network:
        internet = Internet(network, ipv6=True)
        home = internet.home("home", ipv6=True)
        old = home.host.address
        home.link.change_address("203.0.113.5")
        assert home.host.addresses == ["203.0.113.5", home.host.address6]
        assert reaches(internet.server, home.host)
        with pytest.raises(OSError, match="assign"), home.host.udp_socket(old):
            pass
        with Observer.on(internet.server) as observer, home.host.udp_socket() as client:
            assert observer.seen(client)[0] == "203.0.113.5"
        home.link.change_address("2001:db8:1::77")
        assert reaches(internet.server, home.host, "2001:db8:1::77")


def two_ways(network: Network) -> tuple[Internet, Home, Home]:
    """A host with a network at home and another by telephone."""
    internet = Internet(network)
    home = internet.home("laptop", NatKind.PORT_RESTRICTED)
    return internet, home, internet.home("telephone", NatKind.SYMMETRIC, host=home.host)


def test_a_host_with_two_networks_sends_from_each_address_by_its_own() -> None:
    with Network() as network:
        internet, home, mobile = two_ways(network)
        laptop = home.host
        assert laptop.addresses == [home.link.address, mobile.link.address]
        with Observer.on(internet.server) as observer:
            for source, nat in (("", home.nat), (home.link.address, home.nat), (mobile.link.address, mobile.nat)):
                with laptop.udp_socket(source) as sock:
                    assert observer.seen(sock)[0] == nat.outside


def test_a_host_with_two_networks_goes_on_with_the_other_one() -> None:
    with Network() as network:
        internet, home, mobile = two_ways(network)
        laptop = home.host
        with Observer.on(internet.server) as observer, laptop.udp_socket() as sock:
            assert observer.seen(sock)[0] == home.nat.outside
            home.link.down()
            assert observer.seen(sock)[0] == mobile.nat.outside
            home.link.up()
            assert observer.seen(sock)[0] == home.nat.outside
            mobile.link.down()
            assert observer.seen(sock)[0] == home.nat.outside
            with pytest.raises(OSError, match="assign"), laptop.udp_socket(mobile.link.address):
                pass


def test_a_host_moves_to_another_network() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("laptop", NatKind.FULL_CONE)
        laptop = home.host
        home.link.remove()
        assert laptop.addresses == []
        cafe = internet.home("cafe", NatKind.SYMMETRIC, host=laptop)
        assert laptop.addresses == [cafe.link.address]
        with Observer.on(internet.server) as observer, laptop.udp_socket() as sock:
            assert observer.seen(sock)[0] == cafe.nat.outside


def test_a_smaller_mtu_on_the_way_is_told_unless_icmp_is_blocked() -> None:
    with Network() as network:
        one, other = network.host("one"), network.host("other")
        near, far = network.router("near"), network.router("far")
        middle = network.link(far, near, "10.1.0.0/24")
        network.link(one, near, "10.2.0.0/24")
        network.link(other, far, "10.3.0.0/24")
        near.route("10.3.0.0/24", middle.address)
        middle.set_mtu(1280)
        with one.udp_socket() as sock, other.udp_socket(other.address) as there:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
            sock.connect(there.getsockname())
            black_hole = near.block_icmp()
            sock.send(bytes(1400))
            sock.send(bytes(1200))
            assert len(there.recv(2000)) == 1200
            assert black_hole.dropped() == 1
            black_hole.lift()
            sock.send(bytes(1400))
            with pytest.raises(OSError, match="too long"):
                for _ in range(2):  # the first one reports the message that has come
                    sock.send(bytes(1400))


def test_multicast_stays_in_the_local_network_and_reaches_all_of_it() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", NatKind.PORT_RESTRICTED, hosts=3)
        group, port = "239.255.0.1", 5353
        members = [host.udp_socket(port=port) for host in home.hosts[1:]]
        with home.host.udp_socket() as sender, members[0] as one, members[1] as other:
            for sock, host in zip((one, other), home.hosts[1:], strict=True):
                joining = socket.inet_aton(group) + socket.inet_aton(host.address)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, joining)
            sender.sendto(b"hello", (group, port))
            assert one.recv(100) == other.recv(100) == b"hello"
            assert (home.host.address, sender.getsockname()[1]) not in home.nat.mappings()


@requires_shaping()
@pytest.mark.parametrize("fails", [False, True])
def test_a_shaped_network_is_removed_with_its_programs(fails: bool) -> None:
    try:
        with Network() as network:
            internet = Internet(network)
            internet.server_link.shape(delay=1)
            assert processes_with(f"tap-{internet.server_link.device}")
            program = internet.server_link.programs[0]
            if fails:
                raise ValueError("the test's own failure")
    except ValueError:
        assert fails
    assert not list(Path("/run/netns").glob(f"irosh-lab-{os.getpid()}-*"))
    assert not Path(f"/proc/{program}").exists()
    assert b"irosh-lab" not in subprocess.run(["ip", "link"], capture_output=True, check=True).stdout
