"""Pairs of a host and a client that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.pair import Pair, pinned_pair
from tests.lab.routed import routed


@pytest.fixture(scope="module")
def loopback_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Host and client on this machine; the client has what an invite grants by default."""
    with pinned_pair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture(scope="module")
def routed_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Host and client on two machines with a router between them, without any relay."""
    with routed(tmp_path_factory.mktemp("pair")) as (pair, _):
        yield pair
