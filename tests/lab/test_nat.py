"""Every kind of NAT maps and filters as its name says: measured, not read from its rules."""

from __future__ import annotations

import socket
import time
from itertools import combinations_with_replacement

import pytest

from tests.lab.host import Host
from tests.lab.nat import CONES, NatKind
from tests.lab.nat_behaviour import Behaviour, Endpoint, Observer, filtering, mapping
from tests.lab.network import Network
from tests.lab.processes import wait_until
from tests.lab.requirements import requires_netns
from tests.lab.topologies import Internet, TwoHomes, one_carrier, two_nats

pytestmark = [pytest.mark.netns, requires_netns()]

FILTERING = {
    NatKind.FULL_CONE: Behaviour.ENDPOINT_INDEPENDENT,
    NatKind.ADDRESS_RESTRICTED: Behaviour.ADDRESS_DEPENDENT,
    NatKind.PORT_RESTRICTED: Behaviour.ADDRESS_AND_PORT_DEPENDENT,
    NatKind.SYMMETRIC: Behaviour.ADDRESS_AND_PORT_DEPENDENT,
}
TRANSLATING = [kind for kind in NatKind if kind != NatKind.NONE]
NO_PATH = [{NatKind.SYMMETRIC}, {NatKind.SYMMETRIC, NatKind.PORT_RESTRICTED}]
"""The pairs between which nobody has punched a hole yet."""


def before_marker(client: socket.socket, observer: Observer, outside: Endpoint) -> list[tuple[bytes, Endpoint]]:
    """What has come to ``client``, which is known to the observer as ``outside``, up to now."""
    observer.send(outside)
    found = []
    while (packet := client.recvfrom(100))[0] != b"00":
        found.append((packet[0], (str(packet[1][0]), int(packet[1][1]))))
    return found


def punch(pair: TwoHomes) -> bool:
    """Whether two hosts that know each other's reflexive address come to hear each other."""
    with (
        Observer.on(pair.server) as observer,
        pair.alice.host.udp_socket() as alice,
        pair.bob.host.udp_socket() as bob,
    ):
        outside = {sock: observer.seen(sock) for sock in (alice, bob)}
        target = {alice: outside[bob], bob: outside[alice]}
        hears = {alice: b"", bob: b""}
        for _ in range(4):
            for sock in (alice, bob):
                sock.sendto(b"hears" if hears[sock] else b"calls", target[sock])
            for sock in (alice, bob):
                for packet, sender in before_marker(sock, observer, outside[sock]):
                    hears[sock], target[sock] = packet, sender
        return hears == {alice: b"hears", bob: b"hears"}


@pytest.mark.parametrize("keep_ports", [True, False], ids=["keeping", "changing"])
@pytest.mark.parametrize("kind", TRANSLATING)
def test_a_nat_maps_and_filters_as_its_kind_does(kind: NatKind, keep_ports: bool) -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", kind, keep_ports=keep_ports)
        with Observer.on(internet.server) as observer:
            with home.host.udp_socket() as client:
                expected = Behaviour.ENDPOINT_INDEPENDENT if kind in CONES else Behaviour.ADDRESS_AND_PORT_DEPENDENT
                assert mapping(client, observer) == expected
                address, port = observer.seen(client)
                assert address == home.nat.outside
                assert (port == client.getsockname()[1]) == (kind in CONES and keep_ports)
            with home.host.udp_socket() as client:
                assert filtering(client, observer) == FILTERING[kind]


def test_without_a_nat_nothing_is_translated_or_kept_out() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", NatKind.NONE)
        with Observer.on(internet.server) as observer, home.host.udp_socket() as client:
            assert filtering(client, observer) == Behaviour.ENDPOINT_INDEPENDENT
            assert observer.seen(client) == (home.host.address, client.getsockname()[1])


@pytest.mark.parametrize(("kind_a", "kind_b"), [*combinations_with_replacement(NatKind, 2)])
def test_two_nats_let_peers_meet_that_can(kind_a: NatKind, kind_b: NatKind) -> None:
    with Network() as network:
        assert punch(two_nats(network, kind_a, kind_b)) == ({kind_a, kind_b} not in NO_PATH)


@pytest.mark.parametrize("kind", CONES)
def test_inside_sockets_with_one_port_appear_with_two(kind: NatKind) -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", kind, hosts=2)
        one, other = home.hosts
        with (
            Observer.on(internet.server) as observer,
            one.udp_socket(port=7000) as first,
            other.udp_socket(port=7000) as second,
        ):
            assert observer.seen(first)[1] == 7000
            port = observer.seen(second)[1]
            assert port != 7000
            assert mapping(second, observer) == Behaviour.ENDPOINT_INDEPENDENT
            assert home.nat.mappings() == {(one.address, 7000): 7000, (other.address, 7000): port}
            observer.send((home.nat.outside, 7000))
            assert first.recv(100) == b"00"


def hears_by_hairpin(pair: TwoHomes, one: Host, other: Host) -> list[Endpoint]:
    """From where ``other`` hears ``one``, which sends to its reflexive address; first, both have sent to another's."""
    with Observer.on(pair.server) as observer, one.udp_socket() as here, other.udp_socket() as there:
        outside_here, outside_there = observer.seen(here), observer.seen(there)
        there.sendto(b"opens", outside_here)
        here.sendto(b"hairpin", outside_there)
        found = before_marker(there, observer, outside_there)
        assert all(sender == outside_here for _, sender in found)
        return [sender for _, sender in found]


@pytest.mark.parametrize("hairpin", [True, False])
@pytest.mark.parametrize("kind", CONES)
def test_a_nat_turns_packets_to_its_outside_back_if_it_is_told_to(kind: NatKind, hairpin: bool) -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", kind, hosts=2, hairpin=hairpin)
        one, other = home.hosts
        assert bool(hears_by_hairpin(TwoHomes(internet, home, home), one, other)) == hairpin


@pytest.mark.parametrize("hairpin", [True, False])
def test_customers_of_one_carrier_meet_if_it_turns_packets_back(hairpin: bool) -> None:
    with Network() as network:
        kinds = NatKind.PORT_RESTRICTED, NatKind.ADDRESS_RESTRICTED, NatKind.PORT_RESTRICTED
        pair = one_carrier(network, *kinds, hairpin=hairpin)
        assert punch(pair) == hairpin


def test_two_nats_in_a_row_are_as_strict_as_the_stricter_one() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", NatKind.FULL_CONE, NatKind.ADDRESS_RESTRICTED)
        with Observer.on(internet.server) as observer:
            with home.host.udp_socket() as client:
                assert mapping(client, observer) == Behaviour.ENDPOINT_INDEPENDENT
                assert home.nat.outside.startswith("100.64.")
                assert observer.seen(client)[0].startswith("203.0.113.")
            with home.host.udp_socket() as client:
                assert filtering(client, observer) == Behaviour.ADDRESS_DEPENDENT


def test_an_idle_mapping_is_lost_and_a_new_one_is_made() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", NatKind.PORT_RESTRICTED, timeout=1)
        with Observer.on(internet.server) as observer, home.host.udp_socket() as client:
            outside = observer.seen(client)
            assert home.nat.mappings()
            wait_until(lambda: not home.nat.mappings(), what="the mapping is lost", timeout=5)
            observer.send(outside, 0, 0)
            assert observer.seen(client, 0, 1) == outside
            observer.send(outside, 0, 1)
            assert client.recv(100) == b"01", "what came in between was let in"


def test_a_mapping_in_use_is_kept_for_everybody() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", NatKind.FULL_CONE, timeout=1, keep_ports=False)
        with Observer.on(internet.server) as observer, home.host.udp_socket() as client:
            outside = observer.seen(client)
            used_until = time.monotonic() + 1.5
            while time.monotonic() < used_until:
                assert observer.seen(client) == outside
                time.sleep(0.1)
            observer.send(outside, 1, 1)
            assert client.recv(100) == b"11"


def test_a_nat_that_starts_anew_has_forgotten_everybody() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", NatKind.FULL_CONE, keep_ports=False)
        with Observer.on(internet.server) as observer, home.host.udp_socket() as client:
            outside = observer.seen(client)
            home.nat.forget_mappings()
            observer.send(outside, 0, 1)
            again = observer.seen(client)
            assert again != outside
            assert before_marker(client, observer, again) == []


def test_another_outside_address_ends_what_there_was() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", NatKind.PORT_RESTRICTED)
        with Observer.on(internet.server) as observer, home.host.udp_socket() as client:
            observer.seen(client)
            home.uplink.change_address("203.0.113.5")
            assert observer.seen(client) == ("203.0.113.5", client.getsockname()[1])
            assert home.nat.outside == "203.0.113.5"


def test_tcp_passes_outwards_and_not_inwards() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", NatKind.FULL_CONE)
        with internet.server.inside():
            server = socket.create_server(("0.0.0.0", 0))
        with server:
            with home.host.inside():
                client = socket.create_connection((internet.server.address, server.getsockname()[1]), timeout=10)
            accepted, (sender, _) = server.accept()
            with client, accepted:
                assert sender == home.nat.outside
                accepted.sendall(b"hello")
                assert client.recv(100) == b"hello"
        with home.host.inside():
            server = socket.create_server(("0.0.0.0", 0))
        with (
            server,
            internet.server.inside(),
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
        ):
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.connect((home.nat.outside, server.getsockname()[1]))


def test_ipv6_is_not_translated_but_only_answers_come_in() -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.FULL_CONE, NatKind.NONE, ipv6=True)
        alice, server = pair.alice.host, pair.server
        with alice.udp_socket("::") as client, server.udp_socket("::") as one, server.udp_socket("::") as other:
            client.sendto(b"hello", (server.address6, one.getsockname()[1]))
            sender = one.recvfrom(100)[1][:2]
            assert sender == (alice.address6, client.getsockname()[1])
            other.sendto(b"uninvited", sender)
            one.sendto(b"answer", sender)
            assert client.recv(100) == b"answer"
