"""The laboratory of the tests (:mod:`tests.lab`) for benchmarks: homes behind NATs, and servers on the internet."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.measuring import BenchError, Skipped
from bench.places import Place
from bench.programs import find_program
from tests.lab.host import Host
from tests.lab.network import Network
from tests.lab.topologies import Internet

_PACKAGES = {"ip": "iproute2", "nft": "nftables", "ss": "iproute2"}


@contextmanager
def internet(*, needs: dict[str, str] | None = None) -> Iterator[Internet]:
    """An internet of namespaces without anybody's home yet, removed in the end.

    ``needs``: further programs, each with its package. :class:`Skipped` where something is missing.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Skipped("needs Linux and root, for network namespaces")
    for program, package in (_PACKAGES | (needs or {})).items():
        find_program(program, package)
    try:
        with Network() as network:
            yield Internet(network)
    except AssertionError as error:
        raise BenchError(f"the laboratory: {error}") from error


def place(host: Host) -> Place:
    """A host of the laboratory as the place of a benchmark's programs."""
    return Place(host.address, host.prefix)
