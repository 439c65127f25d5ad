"""The addresses of this machine: those of its networks, and the one that the system sends from to somewhere."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

MAX_ADDRESSES = 64


@dataclass(frozen=True)
class LocalAddress:
    """An address of a network interface that is up."""

    interface: str
    address: str


def usable_addresses() -> list[LocalAddress]:
    """Those that other machines may be reached from: neither loopback nor link-local. IPv4 before IPv6."""
    import psutil  # imported late: only sessions with several paths look

    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = [
        LocalAddress(name, each.address)
        for name, addresses in psutil.net_if_addrs().items()
        for each in addresses
        if name in up and each.family in (socket.AF_INET, socket.AF_INET6) and _is_usable(each.address)
    ]
    return sorted(found, key=lambda each: ":" in each.address)[:MAX_ADDRESSES]


def source_address(remote: str) -> str | None:
    """The address that packets to ``remote``, ``HOST:PORT``, are sent from; None when there is no way to it."""
    host, _, port = remote.rpartition(":")
    host = host.strip("[]")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((host, int(port)))  # sends nothing
            return str(sock.getsockname()[0])
    except (OSError, ValueError):
        return None


def _is_usable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)
