"""Whether two nodes may reach each other without the NATs between them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, ip_network

from irosh.core.addresses import parse_ip

_PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_NEAR = 24  # bits of them that are equal within the usual local network


def are_separate(own: Iterable[str], theirs: Iterable[str]) -> bool:
    """Whether the IP addresses of two nodes leave no other way than through their NATs.

    They may be on one network when they have an address or a local network in common, or when both have IPv6.
    """
    here, there = _networks(own), _networks(theirs)
    return not here & there


def _networks(addresses: Iterable[str]) -> set[str]:
    found = set()
    for text in addresses:
        address = parse_ip(text)
        if address is None:
            continue
        if isinstance(address.ip, IPv4Address):
            private = any(address.ip in each for each in _PRIVATE)
            found.add(str(ip_network(f"{address.ip}/{_NEAR if private else 32}", strict=False)))
        else:
            found.add("IPv6")
    return found
