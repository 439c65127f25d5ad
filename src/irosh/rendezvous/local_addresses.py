"""The addresses of this machine that others may reach."""

from __future__ import annotations

import ipaddress

from irosh.core.addresses import IPAddress

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
