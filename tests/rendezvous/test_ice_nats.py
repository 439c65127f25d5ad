"""ICE sessions across NATs and firewalls: what theory says can connect does, and what cannot has its fallbacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.coturn import Coturn, coturn
from tests.lab.host import Host
from tests.lab.ice_pair import Result, meet
from tests.lab.irosh_process import Irosh
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.requirements import requires, requires_netns
from tests.lab.topologies import Internet, two_nats

pytestmark = [pytest.mark.netns, requires_netns(), requires("turnserver")]


def settings(server: Coturn, *, relay: str | None = None, turn: bool = False, stun: bool = True) -> dict[str, Any]:
    """What one side is given."""
    chosen: dict[str, Any] = {"relays": [relay] if relay else []}
    chosen["stun_servers"] = [f"{address}:{server.turn.port}" for address in server.addresses] if stun else []
    if turn:
        found = server.turn
        chosen["turn_servers"] = [
            {"host": found.host, "port": found.port, "username": found.username, "password": found.password}
        ]
    return chosen


@contextmanager
def relay_on(host: Host, directory: Path) -> Iterator[str]:
    """An embedded relay for the length of the block; its URL."""
    with Irosh(host, directory / "relay").start("relay", "serve", "--listen", f"{host.address}:0") as serving:
        yield str(serving.wait_event("ready")["url"])


def check_connected(result: Result, way: str) -> None:
    """They met in that ``way``, bytes went through, and nothing is left open."""
    assert result.way == way, (result.host, result.client)
    assert result.host["peer"] == result.gathered[1]["id"]
    assert result.client["peer"] == result.gathered[0]["id"]
    assert result.echoed["echoed"] > 0
    assert all(path["relayed"] == (way != "direct") for path in [*result.host["paths"], *result.client["paths"]])
    check_nothing_left(result)


def check_nothing_left(result: Result) -> None:
    assert result.left == ({"sockets": 0, "tasks": 0}, {"sockets": 0, "tasks": 0})


@pytest.mark.parametrize("keep_ports", [True, False], ids=["keeping", "changing"])
def test_two_port_restricted_nats_are_punched(keep_ports: bool) -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED, keep_ports=keep_ports)
        with coturn(pair.server) as server:
            result = meet(pair.alice.host, pair.bob.host, settings(server), settings(server), seconds=0.5)
            check_connected(result, "direct")
            assert result.client["paths"][0]["remote"].startswith(f"{pair.alice.nat.outside}:")
            assert max(result.host["seconds"], result.client["seconds"]) < 5


def test_one_symmetric_nat_against_a_lenient_one_is_punched() -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.SYMMETRIC, NatKind.ADDRESS_RESTRICTED)
        with coturn(pair.server) as server:
            check_connected(meet(pair.alice.host, pair.bob.host, settings(server), settings(server)), "direct")


def test_two_symmetric_nats_use_the_relay_where_it_is_allowed(tmp_path: Path) -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.SYMMETRIC, NatKind.SYMMETRIC)
        with coturn(pair.server) as server, relay_on(pair.server, tmp_path) as url:
            chosen = settings(server, relay=url)
            result = meet(pair.alice.host, pair.bob.host, chosen, chosen, seconds=0.5)
            check_connected(result, "relay")
            assert result.echoed["paths"][0]["relayed"]


def test_two_symmetric_nats_use_turn_where_the_relay_is_forbidden() -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.SYMMETRIC, NatKind.SYMMETRIC)
        with coturn(pair.server) as server:
            both, none = settings(server, turn=True), settings(server)
            check_connected(meet(pair.alice.host, pair.bob.host, both, both, seconds=0.5), "turn")
            # One side's is enough, whichever it is.
            check_connected(meet(pair.alice.host, pair.bob.host, both, none, seconds=0.5), "turn")
            check_connected(meet(pair.alice.host, pair.bob.host, none, both, seconds=0.5), "turn")


def test_two_symmetric_nats_without_either_are_told_why() -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.SYMMETRIC, NatKind.SYMMETRIC)
        with coturn(pair.server) as server:
            result = meet(pair.alice.host, pair.bob.host, settings(server), settings(server))
            assert result.way == "no-path"
            for said in (result.host, result.client):
                assert "both sides are behind symmetric NATs" in said["error"]["message"]
                assert "--turn-server" in said["error"]["hint"]
                assert said["seconds"] < 30
            check_nothing_left(result)


def test_a_wrong_turn_password_is_named() -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.NONE, NatKind.NONE)
        with coturn(pair.server) as server:
            wrong = settings(server, turn=True)
            wrong["turn_servers"][0]["password"] = "guessed"
            result = meet(pair.alice.host, pair.bob.host, wrong, settings(server))
            check_connected(result, "direct")
            (problem,) = result.gathered[0]["problems"]
            assert problem["code"] == "turn-denied"
            assert "guessed" not in str(problem)


def test_where_udp_is_blocked_turn_goes_by_tcp_and_the_relay_by_http(tmp_path: Path) -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
        pair.bob.router.block_udp()
        with coturn(pair.server) as server, relay_on(pair.server, tmp_path) as url:
            blocked = settings(server, turn=True)
            result = meet(pair.alice.host, pair.bob.host, settings(server), blocked, seconds=0.5)
            check_connected(result, "turn")
            assert [problem["code"] for problem in result.gathered[1]["problems"]] == ["stun-unreachable"]
            chosen = settings(server, relay=url)
            check_connected(meet(pair.alice.host, pair.bob.host, chosen, chosen, seconds=0.5), "relay")


def test_relay_only_uses_no_direct_way(tmp_path: Path) -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.NONE, NatKind.NONE)
        with coturn(pair.server) as server, relay_on(pair.server, tmp_path) as url:
            chosen = settings(server, relay=url)
            forced = {**chosen, "relay_only": True}
            result = meet(pair.alice.host, pair.bob.host, chosen, forced, seconds=2)
            check_connected(result, "relay")
            assert result.gathered[1]["candidates"] == []
            assert all(path["relayed"] for path in result.echoed["paths"])


def test_a_session_by_relay_moves_to_a_direct_path_when_one_opens(tmp_path: Path) -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.NONE, NatKind.NONE)
        wall = pair.internet.router.drop_udp(pair.alice.host, pair.bob.host)
        with relay_on(pair.server, tmp_path) as url:
            chosen: dict[str, Any] = {"relays": [url], "stun_servers": []}
            result = meet(pair.alice.host, pair.bob.host, chosen, chosen, seconds=30.0, opening=wall.lift)
            check_connected(result, "relay")
            assert any(path["selected"] and not path["relayed"] for path in result.echoed["paths"])


def test_hosts_behind_one_nat_meet_inside() -> None:
    with Network() as network:
        internet = Internet(network)
        home = internet.home("home", NatKind.SYMMETRIC, hosts=2)
        with coturn(internet.server) as server:
            result = meet(home.hosts[0], home.hosts[1], settings(server), settings(server))
            check_connected(result, "direct")
            assert result.client["paths"][0]["remote"].startswith(f"{home.hosts[0].address}:")


def test_no_stun_is_enough_on_one_side_if_the_other_is_public() -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.NONE, NatKind.SYMMETRIC)
        with coturn(pair.server) as server:
            blind = settings(server, stun=False)
            check_connected(meet(pair.alice.host, pair.bob.host, blind, blind), "direct")


def test_ipv6_goes_through_firewalls_without_any_server() -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.SYMMETRIC, NatKind.SYMMETRIC, ipv6=True)
        blind: dict[str, Any] = {"relays": [], "stun_servers": []}
        result = meet(pair.alice.host, pair.bob.host, blind, blind, seconds=0.5)
        check_connected(result, "direct")
        assert result.client["paths"][0]["remote"].startswith("[2001:db8:")


def test_an_answer_that_is_carried_late_still_opens_the_nats() -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED)
        with coturn(pair.server) as server:
            patient = {**settings(server), "patience": 60.0}
            result = meet(pair.alice.host, pair.bob.host, settings(server), patient, late=6.0)
            check_connected(result, "direct")
            assert result.host["seconds"] < 5
