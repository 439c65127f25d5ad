"""IP addresses for access decisions: strict parsing, and what a connection to an address really reaches.

The same host can be written in many ways (``::ffff:127.0.0.1`` is ``127.0.0.1``; ``0.0.0.0`` connects to
the local host). An access rule must hold for the thing, not for its spelling, so everything passes through
here first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_ZONE = re.compile(r"[0-9A-Za-z._-]{1,32}")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE | re.ASCII)
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE | re.ASCII)

# IPv6 ranges whose addresses carry an IPv4 address to which a router may translate or tunnel them, with the
# number of bits to the right of it and the mask it is stored under. IPv4-mapped addresses are not here: they
# *are* the IPv4 address.
_CARRIERS: tuple[tuple[IPv6Network, int, int], ...] = (
    (IPv6Network("::/96"), 0, 0),  # IPv4-compatible, RFC 4291 section 2.5.5.1
    (IPv6Network("::ffff:0:0:0/96"), 0, 0),  # IPv4-translated, RFC 2765
    (IPv6Network("64:ff9b::/96"), 0, 0),  # NAT64 well-known prefix, RFC 6052
    (IPv6Network("64:ff9b:1::/48"), 0, 0),  # NAT64 local use, RFC 8215 (in its usual /96 form)
    (IPv6Network("2002::/16"), 80, 0),  # 6to4, RFC 3056
    (IPv6Network("2001::/32"), 0, 0xFFFF_FFFF),  # Teredo, RFC 4380: the client's address, inverted
)


@dataclass(frozen=True, slots=True)
class ScopedAddress:
    """An IP address and, for a link-local one, the zone (interface) it is valid in: RFC 4007."""

    ip: IPAddress
    zone: str = ""

    def __str__(self) -> str:
        return f"{self.ip}%{self.zone}" if self.zone else str(self.ip)


def parse_ip(text: str) -> ScopedAddress | None:
    """The address that ``text`` strictly spells, or ``None``.

    IPv4 takes four decimal numbers only: no octal, hexadecimal, short or single-number forms, which C
    libraries read in ways a rule's author did not mean. An IPv4-mapped IPv6 address comes back as the IPv4
    address. A zone is kept where it has a meaning, on link-local addresses, and dropped elsewhere.
    """
    spelled, percent, zone = text.partition("%")
    if percent and (":" not in spelled or not _ZONE.fullmatch(zone)):
        return None
    try:
        ip = IPv6Address(spelled) if ":" in spelled else IPv4Address(spelled)
    except AddressValueError:
        return None
    if isinstance(ip, IPv4Address):
        return ScopedAddress(ip)
    if ip.ipv4_mapped is not None:
        return ScopedAddress(ip.ipv4_mapped)
    return ScopedAddress(ip, zone if ip.is_link_local else "")


def host_name(text: str) -> str | None:
    """``text`` as a host name in lower case and without the trailing dot, or ``None`` if it cannot be one.

    Letters, digits, hyphens and underscores in labels of up to 63 characters, 253 in all (RFC 1123). Names
    whose last label is a number are refused: resolvers read ``127.1`` or ``0x7f000001`` as addresses. So is
    whatever is not ASCII: resolvers map look-alike digits and letters to ASCII, so it must be written in its
    ``xn--`` form.
    """
    name = text.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return None if _NUMERIC_LABEL.fullmatch(labels[-1]) else name.lower()


def carried_ipv4(ip: IPAddress) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that an IPv6 address carries for a translator or a tunnel; mostly none."""
    if isinstance(ip, IPv4Address) or ip.is_unspecified or ip.is_loopback:
        return ()
    return tuple(
        IPv4Address((int(ip) >> shift & 0xFFFF_FFFF) ^ mask) for prefix, shift, mask in _CARRIERS if ip in prefix
    )


def loopback_for(ip: IPAddress) -> IPAddress:
    """Where a *connection* to ``ip`` goes: the unspecified address connects to the local host."""
    if not ip.is_unspecified:
        return ip
    return IPv4Address("127.0.0.1") if isinstance(ip, IPv4Address) else IPv6Address("::1")
