"""The addresses a host gives its clients: one of each family, the first of the pool being the host's own. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from irosh.core.addresses import IPNetwork
from irosh.core.errors import ErrorCode, IroshError

MOST_CLIENTS = 4096
_SHARED = IPv4Network("100.64.0.0/10")  # RFC 6598: of nobody's own network
_TRIES = 16


@dataclass(frozen=True)
class Lease:
    """A client's addresses."""

    number: int
    address4: IPv4Address
    address6: IPv6Address


class Pool:
    """Each client has the same number in both networks."""

    def __init__(self, network4: IPv4Network, network6: IPv6Network) -> None:
        self.network4, self.network6 = network4, network6
        self._taken: set[int] = set()

    @property
    def gateway4(self) -> IPv4Address:
        """The host's own address."""
        return self.network4[1]

    @property
    def gateway6(self) -> IPv6Address:
        """The host's own address."""
        return self.network6[1]

    @property
    def gateways(self) -> list[IPv4Address | IPv6Address]:
        """Both."""
        return [self.gateway4, self.gateway6]

    def lease(self, wanted4: str = "", wanted6: str = "") -> Lease:
        """Addresses for one more client, those it had if they are free. ``IroshError`` (busy)."""
        last = min(self.network4.num_addresses - 2, MOST_CLIENTS)
        for number in range(2, last + 1):
            lease = Lease(number, self.network4[number], self.network6[number])
            if str(lease.address4) == wanted4 and wanted6 in ("", str(lease.address6)) and number not in self._taken:
                self._taken.add(number)
                return lease
        free = next((number for number in range(2, last + 1) if number not in self._taken), None)
        if free is None:
            raise IroshError(
                ErrorCode.BUSY, "all addresses for clients are taken", "the host can set a larger vpn.pool"
            )
        self._taken.add(free)
        return Lease(free, self.network4[free], self.network6[free])

    def release(self, lease: Lease) -> None:
        """The client has gone."""
        self._taken.discard(lease.number)


def networks4(endpoint_id: str) -> Iterator[IPv4Network]:
    """Networks for the clients of this host, the first likely to be nobody else's: two hosts rarely have the same."""
    digest = hashlib.sha256(f"irosh vpn {endpoint_id}".encode()).digest()
    subnets = 1 << (24 - _SHARED.prefixlen)
    first = int.from_bytes(digest[:4], "big")
    for step in range(_TRIES):
        base = int(_SHARED.network_address) + ((first + step) % subnets << 8)
        yield IPv4Network((base, 24))


def network6(endpoint_id: str) -> IPv6Network:
    """A unique local network (RFC 4193) for the clients of this host."""
    digest = hashlib.sha256(f"irosh vpn {endpoint_id}".encode()).digest()
    return IPv6Network(((0xFD << 120) | int.from_bytes(digest[8:13], "big") << 80, 64))


def conflict(network: IPNetwork, known: Iterable[IPNetwork]) -> IPNetwork | None:
    """The first of the ``known`` networks that has addresses of ``network``; a default route counts for none."""
    for other in known:
        if other.version == network.version and other.prefixlen > 0 and network.overlaps(other):
            return other
    return None
