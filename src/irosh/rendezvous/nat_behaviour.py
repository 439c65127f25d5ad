"""How the NAT and firewall in front of this machine behave, in the terms of RFC 4787, found as RFC 5780 says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum

from irosh.core.errors import IroshError
from irosh.rendezvous.resolving import Address
from irosh.rendezvous.stun import CHANGE_IP, CHANGE_PORT, Binding, StunClient

# An answer that a filter drops is waited for in vain, so this is how long each check of a filter takes.
SILENCE = 1.8
# Sizes of IP packets, header included: Ethernet, PPPoE, tunnels of common kinds, the least that IPv6 and QUIC want.
MTU_CANDIDATES = (1500, 1492, 1480, 1460, 1440, 1420, 1400, 1380, 1350, 1320, 1280, 1228)
IP_AND_UDP = {4: 28, 6: 48}


class Behaviour(StrEnum):
    """Of a mapping or a filter: RFC 4787, 4.1 and 5."""

    NONE = "none"
    """There is no NAT (mapping)."""
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"
    ENDPOINT_DEPENDENT = "endpoint-dependent"
    """One of the two above; which, only a server with RFC 5780 can tell."""
    UNKNOWN = "unknown"

    @property
    def symmetric(self) -> bool:
        """Whether each destination sees another address."""
        return self in (self.ADDRESS_DEPENDENT, self.ADDRESS_AND_PORT_DEPENDENT, self.ENDPOINT_DEPENDENT)


def mapping_by_servers(local: Address, seen: Mapping[str, Binding], addresses: frozenset[str]) -> Behaviour:
    """What the answers of several servers on one socket say of the mapping. Pure.

    ``addresses``: this machine's own. One server alone says nothing, unless there is no NAT.
    """
    mapped = {binding.mapped for binding in seen.values()}
    if mapped and all(host in addresses and port == local[1] for host, port in mapped):
        return Behaviour.NONE
    if len({binding.source[0] for binding in seen.values()}) < 2:
        return Behaviour.UNKNOWN
    # Several hosts with one port each: a lying server, or a NAT with several addresses. Neither is known.
    if len({host for host, _ in mapped}) > 1:
        return Behaviour.UNKNOWN
    return Behaviour.ENDPOINT_INDEPENDENT if len(mapped) == 1 else Behaviour.ENDPOINT_DEPENDENT


async def mapping(bind: str, server: Address, other: Address) -> Behaviour:
    """RFC 5780, 4.3, by a server that has ``other`` as its other address. Not for a machine without NAT."""
    async with _client(bind) as client:
        try:
            first = (await client.ask(server, timeout=SILENCE)).mapped
            second = (await client.ask((other[0], server[1]), timeout=SILENCE)).mapped
            if first == second:
                return Behaviour.ENDPOINT_INDEPENDENT
            third = (await client.ask(other, timeout=SILENCE)).mapped
        except IroshError:
            return Behaviour.UNKNOWN
    return Behaviour.ADDRESS_DEPENDENT if second == third else Behaviour.ADDRESS_AND_PORT_DEPENDENT


async def filtering(bind: str, server: Address, other: Address) -> Behaviour:
    """RFC 5780, 4.4. Each check has a socket of its own, that nothing but it opens the filter."""
    any_address, any_port = await asyncio.gather(
        _answered(bind, server, CHANGE_IP | CHANGE_PORT, other),
        _answered(bind, server, CHANGE_PORT, (server[0], other[1])),
    )
    if any_address is None or any_port is None:
        return Behaviour.UNKNOWN
    if any_address:
        return Behaviour.ENDPOINT_INDEPENDENT
    return Behaviour.ADDRESS_DEPENDENT if any_port else Behaviour.ADDRESS_AND_PORT_DEPENDENT


async def _answered(bind: str, server: Address, change: int, source: Address) -> bool | None:
    """Whether an answer from ``source`` comes through; None when the server does not answer at all."""
    async with _client(bind) as client:
        try:
            await client.ask(server, timeout=SILENCE)
        except IroshError:
            return None
        try:
            await client.ask(server, change=change, answer_from=source, timeout=SILENCE)
        except IroshError:
            return False
        return True


async def hairpin(bind: str, server: Address) -> bool | None:
    """Whether two sockets behind the NAT reach each other by their outer addresses (RFC 4787, REQ-9)."""
    async with _client(bind) as one, _client(bind) as two:
        try:
            first, second = await asyncio.gather(one.ask(server, timeout=SILENCE), two.ask(server, timeout=SILENCE))
        except IroshError:
            return None
        # Both ways, as each packet out opens the filter for those of the other.
        return any(await asyncio.gather(one.reaches(two, second.mapped), two.reaches(one, first.mapped)))


async def path_mtu(bind: str, server: Address) -> int | None:
    """The largest of some sizes in which an IP packet gets to ``server`` in one piece; None if it cannot be told."""
    version = 6 if ":" in server[0] else 4
    async with _client(bind) as client:
        if not client.forbid_fragments():
            return None

        async def passes(size: int) -> int:
            with contextlib.suppress(IroshError):
                await client.ask(server, size=size - IP_AND_UDP[version], timeout=SILENCE)
                return size
            return 0

        found = max(await asyncio.gather(*map(passes, MTU_CANDIDATES)))
    return found or None


@asynccontextmanager
async def _client(bind: str) -> AsyncIterator[StunClient]:
    client = await StunClient.open(bind)
    try:
        yield client
    finally:
        await client.close()
