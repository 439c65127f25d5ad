"""``-J``: through nodes and ordinary SSH servers to a target that only the last hop reaches."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.chain import Chain, chain
from tests.lab.machine import LOCAL


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """client - one - two - end, on loopback."""
    machines = {"one": LOCAL, "two": LOCAL, "end": LOCAL}
    with chain(tmp_path_factory.mktemp("chain"), LOCAL, machines) as made:
        yield made


def test_over_one_hop(nodes: Chain) -> None:
    done = nodes.client.run("connect", "-J", "one", "two", "true")
    assert done.returncode == 255, "a hop is no target: the client may only pass there"
    nodes.hosts["two"].call("peer", "allow", "client", "exec")
    done = nodes.client.run("connect", "-J", "one", "two", "echo I am $IROSH_PEER through $IROSH_VIA; exit 3")
    assert (done.returncode, done.stdout.split()[:3]) == (3, [b"I", b"am", b"client"]), done.stderr


def test_over_two_hops(nodes: Chain) -> None:
    data = os.urandom(3_000_000)
    done = nodes.client.run("connect", "-J", "one,two", "end", "cat; echo err >&2; exit 4", stdin=data)
    assert (done.returncode, done.stdout == data, done.stderr) == (4, True, b"err\n")
