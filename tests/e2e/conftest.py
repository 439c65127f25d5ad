"""Pairs of a host and a client that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.network import Network
from tests.lab.pair import Pair, pinned_pair


@pytest.fixture(scope="module")
def loopback_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Host and client on this machine; the client has what an invite grants by default."""
    with pinned_pair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture(scope="module")
def routed_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Host and client on two machines with a router between them, without any relay."""
    with Network() as network:
        alice, bob, router = network.host("alice"), network.host("bob"), network.router("router")
        network.link(alice, router, "10.1.0.0/24")
        network.link(bob, router, "10.2.0.0/24")
        directory = tmp_path_factory.mktemp("pair")
        with pinned_pair(directory, "--no-relay", host_machine=alice, client_machine=bob) as pair:
            yield pair
