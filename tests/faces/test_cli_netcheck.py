"""``irosh netcheck`` behind real NATs and firewalls, and where there is nothing at all."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from irosh.rendezvous.nat_behaviour import Behaviour
from irosh.rendezvous.netcheck import FamilyReport, RelayReport, Report, advice
from tests.lab.coturn import Coturn, coturn
from tests.lab.irosh_process import PROGRAM, Irosh
from tests.lab.machine import Machine
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.requirements import requires, requires_netns
from tests.lab.topologies import Home, Internet

netns = [pytest.mark.netns, requires_netns(), requires("turnserver")]


def in_namespaces(function: Any) -> Any:
    """Marks of a test that needs a laboratory."""
    for mark in netns:
        function = mark(function)
    return function


@contextmanager
def home(kind: NatKind, *servers: int, **options: Any) -> Iterator[tuple[Home, Coturn, Internet]]:
    """A home behind a NAT, and coturn on the internet."""
    with Network() as network:
        internet = Internet(network, ipv6=bool(options.get("ipv6")))
        place = internet.home("alice", kind, **options)
        addresses = [internet.server.addresses[number] for number in servers]
        with coturn(internet.server, *addresses) as server:
            yield place, server, internet


def check(machine: Machine, directory: Path, *arguments: str) -> dict[str, Any]:
    """What it finds, within its time."""
    begun = time.monotonic()
    found = Irosh(machine, directory / "state").call("netcheck", *arguments)
    assert time.monotonic() - begun < 15
    return found


@in_namespaces
@pytest.mark.parametrize(
    ("kind", "mapping", "filtering"),
    [
        (NatKind.NONE, "none", "endpoint-independent"),
        (NatKind.FULL_CONE, "endpoint-independent", "endpoint-independent"),
        (NatKind.ADDRESS_RESTRICTED, "endpoint-independent", "address-dependent"),
        (NatKind.PORT_RESTRICTED, "endpoint-independent", "address-and-port-dependent"),
        (NatKind.SYMMETRIC, "address-and-port-dependent", "address-and-port-dependent"),
    ],
)
def test_the_behaviour_of_every_kind_of_nat(kind: NatKind, mapping: str, filtering: str, tmp_path: Path) -> None:
    with home(kind) as (place, server, _):
        found = check(place.host, tmp_path, "--stun-server", server.stun)
        assert found["udp"] == "works", found
        ipv4 = found["ipv4"]
        assert (ipv4["mapping"], ipv4["filtering"]) == (mapping, filtering)
        assert ipv4["local"] == [place.host.address]
        outside = place.host.address if kind is NatKind.NONE else place.nat.outside
        assert [each.partition(":")[0] for each in ipv4["reflexive"]] == [outside]
        assert found["problems"] == []


@in_namespaces
@pytest.mark.parametrize("hairpin", [False, True])
def test_hairpin(hairpin: bool, tmp_path: Path) -> None:
    with home(NatKind.PORT_RESTRICTED, hairpin=hairpin) as (place, server, _):
        assert check(place.host, tmp_path, "--stun-server", server.stun)["ipv4"]["hairpin"] is hairpin


@in_namespaces
@pytest.mark.parametrize(
    ("kind", "mapping"),
    [(NatKind.FULL_CONE, "endpoint-independent"), (NatKind.SYMMETRIC, "endpoint-dependent")],
)
def test_two_plain_servers_tell_the_mapping_but_not_the_filter(kind: NatKind, mapping: str, tmp_path: Path) -> None:
    with Network() as network:
        internet = Internet(network)
        place = internet.home("alice", kind)
        one, other = internet.server.addresses[:2]
        with coturn(internet.server, one) as first, coturn(internet.server, other) as second:
            alone = check(place.host, tmp_path / "one", "--stun-server", first.stun)
            assert (alone["ipv4"]["mapping"], alone["ipv4"]["filtering"]) == ("unknown", "unknown")
            assert "second --stun-server" in alone["advice"]
            both = check(place.host, tmp_path / "two", "--stun-server", first.stun, "--stun-server", second.stun)
            assert (both["ipv4"]["mapping"], both["ipv4"]["filtering"]) == (mapping, "unknown")


@in_namespaces
def test_the_mtu_of_a_path_with_a_tunnel_in_it(tmp_path: Path) -> None:
    with home(NatKind.PORT_RESTRICTED) as (place, server, _):
        assert check(place.host, tmp_path / "1", "--stun-server", server.stun)["ipv4"]["mtu"] == 1500
        place.uplink.set_mtu(1420)
        assert check(place.host, tmp_path / "2", "--stun-server", server.stun)["ipv4"]["mtu"] == 1420


@in_namespaces
def test_a_silent_server_beside_a_good_one_is_named_and_costs_little(tmp_path: Path) -> None:
    with home(NatKind.FULL_CONE) as (place, server, _):
        dead = f"{server.addresses[0]}:9"
        found = check(place.host, tmp_path, "--stun-server", dead, "--stun-server", server.stun)
        assert found["ipv4"]["mapping"] == "endpoint-independent"
        (problem,) = found["problems"]
        assert problem["code"] == "stun-unreachable"
        assert dead in problem["message"]


@in_namespaces
def test_blocked_udp_is_told_from_no_network_by_a_relay_that_answers(tmp_path: Path) -> None:
    with home(NatKind.PORT_RESTRICTED) as (place, server, internet):
        place.router.block_udp()
        relay_url = f"http://{server.addresses[0]}:3340"
        relay = internet.server
        listen = ("relay", "serve", "--listen", "0.0.0.0:3340")
        ready = lambda: b":3340" in relay.run("ss", "-Hltn").stdout  # noqa: E731
        with relay.running(PROGRAM, "--state", str(tmp_path / "relay"), *listen, ready=ready):
            blocked = check(place.host, tmp_path / "1", "--stun-server", server.stun, "--relay", relay_url)
            assert blocked["udp"] == "blocked"
            assert "UDP is blocked" in blocked["advice"]
            (measured,) = blocked["relays"]
            assert measured["url"] == relay_url
            assert 0 < measured["rtt_ms"] < 1000
        nothing = check(place.host, tmp_path / "2", "--stun-server", server.stun, "--relay", relay_url)
        assert nothing["udp"] == "unknown"
        assert {each["code"] for each in nothing["problems"]} == {"stun-unreachable", "relay-unreachable"}


@in_namespaces
def test_ipv6_without_a_nat(tmp_path: Path) -> None:
    with Network() as network:
        internet = Internet(network, ipv6=True)
        place = internet.home("alice", NatKind.NONE, ipv6=True)
        with coturn(internet.server, internet.server.address6) as server:
            name = f"[{server.turn.host}]:{server.turn.port}"
            found = check(place.host, tmp_path, "--stun-server", name)
            assert found["ipv6"]["mapping"] == "none", found
            assert found["ipv6"]["mtu"] == 1500
            assert found["problems"] == []


@in_namespaces
def test_without_any_network_it_says_so(tmp_path: Path) -> None:
    with Network() as network:
        alone = network.host("alone")
        irosh = Irosh(_named(alone), tmp_path / "state", relays=None)
        found = irosh.call("netcheck")
        assert found["advice"].startswith("No network")
        assert found["ipv4"]["local"] == []
        assert found["problems"]
        shown = irosh.run("netcheck").stdout.decode()
        assert "UDP" in shown
        assert "No network" in shown
        assert not (tmp_path / "state" / "identity").exists()


def _named(machine: Machine) -> Machine:
    """A machine without a link has no address, but a name to be called by."""
    return Machine(machine.name, prefix=machine.prefix, addresses=("192.0.2.1",))


def test_wrong_servers_and_clashing_options_are_refused(tmp_path: Path) -> None:
    irosh = Irosh(Machine("here", addresses=("127.0.0.1",)), tmp_path / "state")
    assert irosh.failure("netcheck", "--stun-server", "no name!")["code"] == "invalid-address"
    assert irosh.failure("netcheck", "--relay", "ftp://x")["code"] == "invalid-address"
    assert irosh.failure("netcheck", "--no-stun", "--stun-server", "x")["code"] == "usage"
    assert irosh.failure("netcheck", "--no-relay", "--relay", "http://x")["code"] == "usage"


def test_nothing_asked_is_quick_and_blames_nobody(tmp_path: Path) -> None:
    irosh = Irosh(Machine("here", addresses=("127.0.0.1",)), tmp_path / "state")
    found = irosh.call("netcheck", "--no-stun", "--no-relay")
    assert found["problems"] == []
    assert json.dumps(found)


NO_FAMILY = FamilyReport(local=[])


def _behind(mapping: Behaviour, filtering: Behaviour) -> Report:
    family = FamilyReport(["192.168.1.2"], ["203.0.113.1:5"], {"stun": 0.01}, mapping=mapping, filtering=filtering)
    return Report(family, NO_FAMILY, [RelayReport("https://relay.example", 0.02)])


@pytest.mark.parametrize(
    ("mapping", "filtering", "words"),
    [
        (Behaviour.NONE, Behaviour.ENDPOINT_INDEPENDENT, "without an answer"),
        (Behaviour.NONE, Behaviour.ADDRESS_AND_PORT_DEPENDENT, "firewall"),
        (Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ADDRESS_DEPENDENT, "peers of every kind"),
        (Behaviour.ENDPOINT_INDEPENDENT, Behaviour.UNKNOWN, "except to peers behind a symmetric NAT"),
        (Behaviour.ENDPOINT_DEPENDENT, Behaviour.UNKNOWN, "TURN"),
        (Behaviour.UNKNOWN, Behaviour.UNKNOWN, "unknown kind"),
    ],
)
def test_the_advice_is_one_line_that_fits_the_network(mapping: Behaviour, filtering: Behaviour, words: str) -> None:
    line = advice(_behind(mapping, filtering))
    assert words in line
    assert "\n" not in line
