"""Which way the packets go: on one LAN without help, through a relay only, and directly as soon as that is possible."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.irosh_process import Irosh
from tests.lab.network import Filter, Network
from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires_netns

pytestmark = [pytest.mark.netns, requires_netns()]

COUNTER = 'i=0; while [ $i -lt 100000 ]; do echo "<$i>"; i=$((i + 1)); sleep 0.05; done'


@dataclass(frozen=True)
class Relayed:
    """A pair that only the relay joins while ``block`` holds."""

    pair: Pair
    block: Filter


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[Relayed]:
    """Two hosts and a relay around a router that drops UDP between the two."""
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(Network())
        alice, bob, middle = network.host("alice"), network.host("bob"), network.host("relay")
        router = network.router("router")
        network.link(alice, router, "10.1.0.0/24")
        network.link(bob, router, "10.2.0.0/24")
        network.link(middle, router, "10.3.0.0/24")
        block = router.drop_udp(alice, bob)
        relay = Irosh(middle, tmp_path / "relay")
        serving = stack.enter_context(relay.start("relay", "serve", "--listen", f"{middle.address}:0"))
        url = serving.wait_event("ready")["url"]
        pair = pinned_pair(tmp_path, "--relay", url, host_machine=alice, client_machine=bob, relays=[url])
        yield Relayed(stack.enter_context(pair), block)


def path_of(side: Irosh) -> str:
    """How the only connection of a node goes now."""
    connections = side.call("status")["connections"]
    return str(connections[0]["path"]) if connections else "none"


def test_machines_on_one_lan_need_nothing_else(tmp_path: Path) -> None:
    # Nothing is configured, so both would use the public relays, which cannot be reached from there.
    with Network() as network:
        alice, bob = network.host("alice"), network.host("bob")
        network.lan("10.4.0.0/24", alice, bob)
        with pinned_pair(tmp_path, host_machine=alice, client_machine=bob, relays=None) as pair:
            done = pair.client.run("connect", PEER, "echo over the lan")
            assert (done.returncode, done.stdout) == (0, b"over the lan\n")


def test_a_relay_joins_those_who_cannot_reach_each_other(relayed: Relayed) -> None:
    with relayed.pair.client.start("connect", PEER, "head -c 3000000 /dev/zero; cat", stdin=-1) as process:
        assert process.wait_event("connected")["path"] == "relayed"
        wait_until(lambda: len(process.output()) == 3_000_000, what="all output has come through the relay")
        assert path_of(relayed.pair.host) == "relayed"
        assert path_of(relayed.pair.client) == "relayed"
        assert relayed.block.dropped() > 0, "nothing tried the direct path, so the relay has proved nothing"


def test_the_path_becomes_direct_and_the_session_goes_on(relayed: Relayed) -> None:
    with relayed.pair.client.start("connect", PEER, COUNTER, stdin=-1) as process:
        assert process.wait_event("connected")["path"] == "relayed"
        wait_until(lambda: "<5>" in process.output(), what="the counter counts through the relay")
        relayed.block.lift()
        wait_until(lambda: path_of(relayed.pair.client) == "direct", timeout=60, what="the path is direct")
        before = last_number(process.output())
        wait_until(lambda: last_number(process.output()) > before + 20, what="the counter counts on")
        output = process.output()
    numbers = [int(line.strip("<>\n")) for line in output.splitlines(keepends=True) if line.endswith(">\n")]
    assert numbers == list(range(len(numbers)))


def last_number(output: str) -> int:
    """The last whole number the counter has printed; -1 before the first."""
    lines = [line for line in output.splitlines(keepends=True) if line.endswith(">\n")]
    return int(lines[-1].strip("<>\n")) if lines else -1
