"""The usual pictures: an internet with a public server, and homes on it behind the NATs that one wants.

    with Network() as network:
        internet = Internet(network)
        alice = internet.home("alice", NatKind.PORT_RESTRICTED)
        bob = internet.home("bob", NatKind.SYMMETRIC, NatKind.PORT_RESTRICTED)  # the second one is the carrier's

Addresses: 198.51.100.2 and .3 are the server's, 203.0.113.x are public, 100.64.x.x are a carrier's inside (RFC 6598),
192.168.N.x are homes; 2001:db8:N::/64 are networks with IPv6.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from tests.lab.host import Host, Router
from tests.lab.link import Link
from tests.lab.nat import Nat, NatKind
from tests.lab.network import Network

PUBLIC = "203.0.113.0/24"
CARRIER = "100.64.0.0/16"
SERVER = "198.51.100.0/24"
SERVER_SECOND = "198.51.100.3"


@dataclass(frozen=True)
class Home:
    """Hosts in one place. ``link`` is the first host's cable, ``uplink`` the one to the provider.

    ``router`` is what stands before the hosts: their NAT, or the provider's router where they have public addresses.
    """

    hosts: tuple[Host, ...]
    router: Router
    link: Link
    uplink: Link

    @property
    def host(self) -> Host:
        """The first of the hosts."""
        return self.hosts[0]

    @property
    def nat(self) -> Nat:
        """The NAT before them."""
        assert isinstance(self.router, Nat), f"{self.host.name} has a public address"
        return self.router


class Provider:
    """Whoever connects homes: the internet itself, or a carrier whose customers share its address."""

    def __init__(self, network: Network, router: Router, pool: str, homes: Iterator[int]) -> None:
        self.network = network
        self.router = router
        self._subnets = ipaddress.ip_network(pool).subnets(new_prefix=29)
        self._homes = homes

    def home(
        self,
        name: str,
        *kinds: NatKind,
        hosts: int = 1,
        host: Host | None = None,
        subnet: str | None = None,
        ipv6: bool = False,
        hairpin: bool = False,
        keep_ports: bool = True,
        timeout: int | None = None,
    ) -> Home:
        """``hosts`` hosts behind NATs of ``kinds``, the nearest first; without any, one host with a public address.

        ``host``: not a new one, but this one, which then has one more network. ``subnet``: that of the home.
        """
        outer = [kind for kind in kinds if kind != NatKind.NONE]
        inner = outer.pop(0) if outer else None
        provider = self
        for number, kind in enumerate(reversed(outer)):
            carrier = f"{name}-carrier{number or ''}"
            provider = provider.carrier(carrier, kind, hairpin=hairpin, keep_ports=keep_ports, timeout=timeout)
        found = [host] if host else [self.network.host(f"{name}{number or ''}") for number in range(hosts)]
        number = next(self._homes)
        subnet6 = f"2001:db8:{number:x}::/64"
        if inner is None:
            assert len(found) == 1, "hosts with public addresses are homes of their own"
            link = self.network.link(found[0], provider.router, provider.subnet(), *([subnet6] if ipv6 else []))
            return Home((found[0],), provider.router, link, link)
        nat = self.network.nat(f"{name}-nat", inner, hairpin=hairpin, keep_ports=keep_ports, timeout=timeout)
        uplink = self.network.link(
            nat, provider.router, provider.subnet(), *([f"fd00:{number:x}::/64"] if ipv6 else [])
        )
        if ipv6:
            provider.router.route(subnet6, nat.address6)
        links = self.network.lan(subnet or f"192.168.{number}.0/24", nat, *found, subnet6=subnet6 if ipv6 else None)
        return Home(tuple(found), nat, links[1], uplink)

    def carrier(
        self, name: str, kind: NatKind, *, hairpin: bool = False, keep_ports: bool = True, timeout: int | None = None
    ) -> Provider:
        """A provider whose customers are behind a NAT of its own (CGNAT)."""
        nat = self.network.nat(name, kind, hairpin=hairpin, keep_ports=keep_ports, timeout=timeout)
        self.network.link(nat, self.router, self.subnet())
        return Provider(self.network, nat, CARRIER, self._homes)

    def subnet(self) -> str:
        """The next of its subnets: a customer gets its second address, and may change to others."""
        return str(next(self._subnets))


class Internet(Provider):
    """One router that knows all public addresses, and a ``server`` with two of them, for STUN, TURN and relays."""

    def __init__(self, network: Network, *, ipv6: bool = False) -> None:
        super().__init__(network, network.router("internet"), PUBLIC, count(1))
        self.server = network.host("server")
        self.server_link = network.link(self.server, self.router, SERVER, *(["2001:db8:0::/64"] if ipv6 else []))
        self.server.add_address(SERVER_SECOND)


@dataclass(frozen=True)
class TwoHomes:
    """Two homes on one internet."""

    internet: Internet
    alice: Home
    bob: Home

    @property
    def server(self) -> Host:
        """The public server."""
        return self.internet.server


def two_nats(
    network: Network,
    kind_a: NatKind,
    kind_b: NatKind,
    *,
    keep_ports: bool = True,
    timeout: int | None = None,
    ipv6: bool = False,
) -> TwoHomes:
    """A host behind a NAT of one kind, and another behind one of another kind (``NatKind.NONE``: a public address)."""
    internet = Internet(network, ipv6=ipv6)
    alice = internet.home("alice", kind_a, keep_ports=keep_ports, timeout=timeout, ipv6=ipv6)
    bob = internet.home("bob", kind_b, keep_ports=keep_ports, timeout=timeout, ipv6=ipv6)
    return TwoHomes(internet, alice, bob)


def one_carrier(network: Network, kind_a: NatKind, kind_b: NatKind, carrier: NatKind, *, hairpin: bool) -> TwoHomes:
    """As :func:`two_nats`, but both homes are customers of one carrier with a NAT of its own."""
    internet = Internet(network)
    provider = internet.carrier("carrier", carrier, hairpin=hairpin)
    return TwoHomes(internet, provider.home("alice", kind_a), provider.home("bob", kind_b))
