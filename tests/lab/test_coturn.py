"""coturn in the laboratory: STUN, the discovery of a NAT's behaviour, and relaying."""

from __future__ import annotations

import re

import pytest

from tests.lab.coturn import Coturn, coturn
from tests.lab.host import Host
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.requirements import requires, requires_netns
from tests.lab.topologies import two_nats

pytestmark = [pytest.mark.netns, requires_netns(), requires("turnserver", "turnutils_stunclient")]


def discovered(host: Host, server: Coturn, what: str) -> str:
    """What coturn's own client finds out (RFC 5780)."""
    done = host.run("turnutils_natdiscovery", what, "-L", host.address, server.turn.host, check=False)
    found = re.findall(r"NAT with (.*) (?:Mapping|Filtering)!", done.stdout.decode())
    assert len(found) == 1, done.stdout.decode()
    return str(found[0])


def test_a_server_with_two_addresses_finds_out_a_nats_behaviour() -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.FULL_CONE, NatKind.SYMMETRIC)
        with coturn(pair.server) as server:
            assert discovered(pair.alice.host, server, "-m") == "Endpoint Independent"
            assert discovered(pair.alice.host, server, "-f") == "Endpoint Independent"
            assert discovered(pair.bob.host, server, "-m") == "Address and Port Dependent"


@pytest.mark.parametrize("udp_blocked", [False, True])
def test_a_relay_takes_its_credentials_by_udp_and_tcp(udp_blocked: bool) -> None:
    with Network() as network:
        pair = two_nats(network, NatKind.SYMMETRIC, NatKind.NONE)
        if udp_blocked:
            pair.alice.router.block_all_but_tcp(443)
        with coturn(pair.server, port=443) as server:
            turn = server.turn
            client = (
                *("turnutils_uclient", "-y", "-c", "-n", "3", "-u", turn.username, "-p", str(turn.port)),
                *(["-t"] if udp_blocked else []),
            )
            done = pair.alice.host.run(*client, "-w", turn.password, turn.host, check=False)
            assert b"Total lost packets 0" in done.stdout, done.stdout.decode()
