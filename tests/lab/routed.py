"""Two machines with a router between them, and a pair on them: where a test wants a network and no NAT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.host import Host, Router
from tests.lab.link import Link
from tests.lab.network import Network
from tests.lab.pair import Pair, pinned_pair

HOST = "10.1.0.2"
"""The address of the machine ``host``."""


@dataclass(frozen=True)
class Routed:
    """The machines, and the links of both: 10.1.0.0/24 is the host's, 10.2.0.0/24 the client's."""

    host: Host
    client: Host
    router: Router
    host_link: Link
    client_link: Link


@contextmanager
def two_machines() -> Iterator[Routed]:
    """The machines for the length of the block."""
    with Network() as network:
        host, client, router = network.host("host"), network.host("client"), network.router("router")
        links = network.link(host, router, "10.1.0.0/24"), network.link(client, router, "10.2.0.0/24")
        yield Routed(host, client, router, *links)


@contextmanager
def routed(directory: Path, *host_options: str, config: str = "") -> Iterator[tuple[Pair, Routed]]:
    """A pair on two machines, without any relay, and where it is; see :func:`pinned_pair`."""
    with (
        two_machines() as place,
        pinned_pair(
            directory,
            "--no-relay",
            *host_options,
            host_machine=place.host,
            client_machine=place.client,
            config=config,
        ) as pair,
    ):
        yield pair, place
