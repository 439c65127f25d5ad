"""Second factors and addresses across a network: what a session has given lasts as long as the session."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.passwords import PASSWORD, askpass, require_password
from tests.lab.irosh_process import Irosh
from tests.lab.link import Link
from tests.lab.network import Network
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.requirements import requires_netns
from tests.lab.routed import routed

pytestmark = [pytest.mark.netns, requires_netns()]

IMPATIENT = '[session]\nkeepalive = "2s"\ndead_after = "5s"\nresume = "60s"'


@dataclass(frozen=True)
class Place:
    """A host and a client with a router between."""

    pair: Pair
    keys: Path
    client_link: Link


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    with routed(tmp_path, "--authorized-keys", str(keys), config=IMPATIENT) as (pair, machines):
        yield Place(pair, keys, machines.client_link)


def test_a_session_that_goes_on_is_not_asked_again_but_a_new_node_is(place: Place, tmp_path: Path) -> None:
    pair = place.pair
    require_password(pair)
    pair.client.environment.update(askpass(tmp_path, PASSWORD))
    asked = tmp_path / "asked"
    with pair.client.tunnel(PEER, "tcp://127.0.0.1:9=127.0.0.1:0") as tunnel:
        assert asked.read_text().count("Password") == 1
        place.client_link.down()
        tunnel.process.wait_event("lost")
        time.sleep(2)
        place.client_link.up()
        tunnel.process.wait_event("resumed")
        assert pair.client.run("connect", PEER, "true").returncode == 0
        assert asked.read_text().count("Password") == 1
    assert pair.client.run("connect", PEER, "true").returncode == 0
    assert asked.read_text().count("Password") == 2


def test_an_identity_of_the_file_comes_from_where_its_line_says(place: Place) -> None:
    pair = place.pair
    (peer,) = pair.host.call("peer", "list")["peers"]
    pair.host.call("peer", "remove", peer["petname"])
    key = pair.client.run("identity", "export-ssh", "--authorized-key").stdout.decode().strip()
    place.keys.write_text(f'from="10.2.0.0/16" {key}\n')
    done = pair.client.run("connect", PEER, "echo in")
    assert done.stdout == b"in\n", done.stderr
    place.keys.write_text(f'from="10.3.0.0/16,!10.2.0.1" {key}\n')
    error = pair.client.failure("connect", PEER, "true")
    assert error["code"] == "denied"
    assert "does not let this peer in from 10.2.0." in error["message"]


def test_a_connection_that_begins_at_a_relay_is_judged_by_its_direct_path(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.touch(mode=0o600)
    with Network() as network:
        host, client, middle = (network.host(name) for name in ("host", "client", "relay"))
        router = network.router("router")
        for number, each in enumerate((host, client, middle), 1):
            network.link(each, router, f"10.{number}.0.0/24")
        relay = Irosh(middle, tmp_path / "relay")
        listen = f"{middle.address}:3340"
        url = f"http://{listen}"
        options = ("--relay", url, "--authorized-keys", str(keys))
        with relay.start("relay", "serve", "--listen", listen) as serving:
            serving.wait_event("ready")
            with pinned_pair(tmp_path, *options, host_machine=host, client_machine=client, relays=[url]) as pair:
                (peer,) = pair.host.call("peer", "list")["peers"]
                pair.host.call("peer", "remove", peer["petname"])
                key = pair.client.run("identity", "export-ssh", "--authorized-key").stdout.decode().strip()
                keys.write_text(f'from="10.2.0.0/16" {key}\n')
                for _ in range(3):
                    done = pair.client.run("connect", PEER, "echo in")
                    assert done.stdout == b"in\n", done.stderr
                router.drop_udp(host, client)
                refused = pair.client.failure("connect", PEER, "true")
                assert refused["code"] == "denied"
                assert "from a relay" in refused["message"]
                keys.write_text(f'from="10.2.0.0/16,relayed" {key}\n')
                done = pair.client.run("connect", PEER, "echo in")
                assert done.stdout == b"in\n", done.stderr
