"""``iroh-default``: a persistent endpoint with hole punching, relay fallback and, with public relays, discovery."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.rendezvous.dialling import dial_route
from irosh.rendezvous.interfaces import Contact, Exchange, Meeting
from irosh.rendezvous.punching_endpoint import PunchingEndpoint, bind_seen, unseen
from irosh.transport.interfaces import Connection
from irosh.transport.wheel import EndpointSettings, WheelEndpoint, bind_endpoint

log = logging.getLogger(__name__)

ADDRESS_DEADLINE = 2.0
RELAY_DEADLINE = 3.0
STUN_DEADLINE = 3.0
DIALLING_STUN_DEADLINE = 1.0  # somebody waits


class IrohDefault:
    """One endpoint, bound as ``settings`` say."""

    def __init__(self, settings: EndpointSettings, node: PunchingEndpoint, *, mdns: bool = False) -> None:
        self._settings = settings
        self._node = node
        self._endpoint = endpoint = node.endpoint
        self._mdns = mdns and not all(_is_loopback(bound) for bound in endpoint.bound())
        self._announcing = (
            asyncio.create_task(self._announce(), name="mdns") if self._mdns and settings.accepts else None
        )
        self._known_relays = set(settings.relays or ())
        self.relay_online = False

    @classmethod
    async def start(
        cls, settings: EndpointSettings, *, mdns: bool = False, stun_servers: Sequence[str] = ()
    ) -> IrohDefault:
        """Bind. Raises ``IroshError`` (bind-failed, port-taken).

        ``mdns``: find, and be found, on the local network. ``stun_servers`` are asked for the address outside a NAT
        where nobody else tells it: iroh's public relays do, others are not asked.
        """
        loopback = settings.bind and all(map(_is_loopback, settings.bind))
        useful = settings.relays or (settings.relays == () and settings.accepts)
        servers = stun_servers if useful and not loopback else ()
        if not servers:
            return cls(settings, unseen(await bind_endpoint(settings)), mdns=mdns)
        deadline = STUN_DEADLINE if settings.accepts else DIALLING_STUN_DEADLINE
        node = await bind_seen(settings, servers, deadline=deadline)
        for problem in node.problems:
            log.info("%s", problem.message)
        # The engine offers them to the peer, and both sides punch.
        for address in node.reflexive:
            await node.endpoint.add_address(address)
        if node.reflexive:
            node.keep_open()
        return cls(settings, node, mdns=mdns)

    @property
    def endpoint(self) -> WheelEndpoint:
        """The one of this identity that is connected to relays, for other modes to use as well."""
        return self._endpoint

    @property
    def relays(self) -> tuple[str, ...] | None:
        """The relays asked for; None for iroh's public ones."""
        return self._settings.relays

    async def wait_reachable(self, *, hosting: bool) -> None:
        """Wait, briefly, until it is known how others reach this node; one that only dials need not wait."""
        if not hosting:
            return
        waits: list[Coroutine[Any, Any, Any]] = [self._endpoint.wait_addresses(ADDRESS_DEADLINE)]
        if self._settings.relays != ():
            waits.append(self._endpoint.wait_relay(RELAY_DEADLINE))
        results = await asyncio.gather(*waits)
        if len(results) > 1:
            self.relay_online = bool(results[1])

    async def problems(self) -> list[IroshError]:
        """Why this host cannot be reached through its relays; empty when it can, or has none."""
        if self.relay_online or self._settings.relays == ():
            return []
        if self._settings.relays is None:
            return [
                IroshError(
                    ErrorCode.RELAY_UNREACHABLE,
                    "no public relay answers: only machines that reach the addresses above can connect",
                    "is this machine on the internet? --relay names a relay of your own, --no-relay silences this",
                )
            ]
        from irosh.transport.relay.probe import probe_relay

        token, secret = self._settings.relay_token, self._settings.secret
        found = await asyncio.gather(*(probe_relay(url, token(url), secret) for url in self._settings.relays))
        return [problem for problem in found if problem is not None]

    def contact(self) -> Contact:
        route = self._endpoint.route()
        relays = dict.fromkeys([*route.relays, *(self._settings.relays or ())])
        # The engine takes some time to count those that it was told of.
        addresses = tuple(dict.fromkeys([*self._node.reflexive, *route.addresses]))
        return Contact(route.endpoint_id, tuple(relays), _most_useful_first(addresses))

    async def dial(self, contact: Contact, exchange: Exchange | None) -> Meeting:
        route = contact.route()
        for url in route.relays:
            if url not in self._known_relays:
                self._known_relays.add(url)
                await self._endpoint.add_relay(url, self._settings.relay_token(url))
        dialling = dial_route(route, self._endpoint.connect, self._probe)
        if not self._mdns:
            return Meeting(await dialling)
        from irosh.rendezvous.lan_dialling import dial_also_on_lan

        return Meeting(await dial_also_on_lan(route, dialling, self._endpoint.connect))

    async def _announce(self) -> None:
        from irosh.rendezvous.local_addresses import reachable_addresses
        from irosh.rendezvous.mdns import announce_on_lan

        await announce_on_lan(self._endpoint.id, lambda: reachable_addresses(self._endpoint.bound()))

    async def _probe(self, url: str) -> IroshError | None:
        from irosh.transport.relay.probe import probe_relay

        return await probe_relay(url, self._settings.relay_token(url), None)

    async def accept(self) -> Connection | None:
        return await self._endpoint.accept()

    async def close(self) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
            for failure in await asyncio.gather(self._announcing, return_exceptions=True):
                if isinstance(failure, Exception):
                    log.error("announcing on the local network failed", exc_info=failure)
        await self._node.close()


def _is_loopback(bound: str) -> bool:
    return ipaddress.ip_address(bound.rpartition(":")[0].strip("[]").partition("%")[0]).is_loopback


def _most_useful_first(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Public before private before loopback; link-local IPv6 left out, it has no meaning on another machine."""
    ranked = []
    for text in addresses:
        host = text.rpartition(":")[0].strip("[]")
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            continue
        if address.is_link_local:
            continue
        rank = 2 if address.is_loopback else 1 if address.is_private else 0
        ranked.append((rank, text))
    return tuple(text for _, text in sorted(ranked, key=lambda entry: entry[0]))
