"""The places of the matrix, and how the laboratory builds each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product

from tests.lab.host import Host
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.topologies import Internet, one_carrier
from tests.matrix.theory import Place, Side

KINDS = tuple(NatKind)
_CONE, _SYMMETRIC = NatKind.PORT_RESTRICTED, NatKind.SYMMETRIC
_OWN = Side((_CONE,))

PAIRS = tuple(Place(f"{host} / {client}", Side((host,)), Side((client,))) for host, client in product(KINDS, KINDS))
CARRIED = (
    Place("port-restricted, carrier full-cone / port-restricted", Side((_CONE, NatKind.FULL_CONE)), _OWN),
    Place("port-restricted / port-restricted, carrier port-restricted", _OWN, Side((_CONE, _CONE))),
    Place(
        "port-restricted, carrier symmetric / address-restricted",
        Side((_CONE, _SYMMETRIC)),
        Side((NatKind.ADDRESS_RESTRICTED,)),
    ),
    Place("port-restricted / port-restricted, carrier symmetric", _OWN, Side((_CONE, _SYMMETRIC))),
)
BLOCKED = (
    Place("UDP blocked / none", Side((_CONE,), udp=False), Side((NatKind.NONE,))),
    Place("port-restricted / UDP blocked", _OWN, Side((_CONE,), udp=False)),
)
TOGETHER = (
    Place("behind one symmetric NAT", Side((_SYMMETRIC,)), Side((_SYMMETRIC,)), one_lan=True),
    Place("behind one port-restricted NAT with hairpin", _OWN, _OWN, hairpin=True, one_lan=True),
    Place("port-restricted / port-restricted, one carrier without hairpin", _OWN, _OWN, carrier=_CONE),
    Place("port-restricted / port-restricted, one carrier with hairpin", _OWN, _OWN, carrier=_CONE, hairpin=True),
)
ALL = (*PAIRS, *CARRIED, *BLOCKED, *TOGETHER)


def place_named(name: str) -> Place:
    """One of :data:`ALL`."""
    return next(place for place in ALL if place.name == name)


@dataclass(frozen=True)
class Built:
    """The machines of a place, and the public ``server``."""

    host: Host
    client: Host
    server: Host


@contextmanager
def built(place: Place) -> Iterator[Built]:
    """A laboratory for the length of the block."""
    with Network() as network:
        yield _build(network, place)


def _build(network: Network, place: Place) -> Built:
    if place.carrier is not None:
        two = one_carrier(network, place.host.nats[0], place.client.nats[0], place.carrier, hairpin=place.hairpin)
        return Built(two.alice.host, two.bob.host, two.server)
    internet = Internet(network)
    if place.one_lan:
        home = internet.home("home", *place.host.nats, hosts=2, hairpin=place.hairpin)
        return Built(home.hosts[0], home.hosts[1], internet.server)
    homes = []
    for name, side in (("alice", place.host), ("bob", place.client)):
        home = internet.home(name, *side.nats)
        if not side.udp:
            home.router.block_udp()
        homes.append(home)
    return Built(homes[0].host, homes[1].host, internet.server)
