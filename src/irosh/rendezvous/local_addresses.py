"""The addresses of this machine that others may reach."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable

from irosh.core.addresses import IPAddress
from irosh.core.socket_spec import bracketed, split_host_port

MAX_ADDRESSES = 32  # a machine with many container networks has hundreds; the first interfaces are the real ones


def local_addresses() -> list[IPAddress]:
    """Of all interfaces, without loopback and link-local ones, in the system's order; at most 32."""
    import ifaddr

    found: dict[IPAddress, None] = {}
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            try:
                address = ipaddress.ip_address(text.partition("%")[0])
            except ValueError:
                continue
            if not (address.is_loopback or address.is_link_local or address.is_unspecified):
                found[address] = None
    return list(found)[:MAX_ADDRESSES]


def reachable_addresses(bound: Iterable[str]) -> tuple[str, ...]:
    """Where other machines reach sockets that are ``bound`` like ``0.0.0.0:4242``: ``ip:port``, IPv4 first."""
    own = local_addresses()
    found: dict[str, None] = {}
    for text in bound:
        host, port = split_host_port(text)
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
        if address.is_unspecified:
            found.update((f"{bracketed(str(each))}:{port}", None) for each in own if each.version == address.version)
        elif not (address.is_loopback or address.is_link_local):
            found[f"{bracketed(str(address))}:{port}"] = None
    return tuple(sorted(found, key=lambda address: address.startswith("[")))


async def new_address(every: float = 1.0) -> None:
    """Until this machine has got an address that it had not: another network, or the same one again."""
    before = set(local_addresses())
    while not (now := set(local_addresses())) - before:
        before = now
        await asyncio.sleep(every)
