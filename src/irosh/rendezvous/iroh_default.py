"""``iroh-default``: a persistent endpoint with hole punching, relay fallback and, with public relays, discovery."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Coroutine
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.interfaces import Connection, Route
from irosh.transport.wheel import EndpointSettings, WheelConnection, WheelEndpoint, bind_endpoint

log = logging.getLogger(__name__)

DIAL_DEADLINE = 30.0
ADDRESS_DEADLINE = 2.0
RELAY_DEADLINE = 3.0
# Several relays in one route are tried side by side, each this long after the one before (RFC 8305's idea).
STAGGER = 1.0


class IrohDefault:
    """One endpoint, bound as ``settings`` say."""

    def __init__(self, settings: EndpointSettings, endpoint: WheelEndpoint) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._known_relays = set(settings.relays or ())
        self.relay_online = False

    @classmethod
    async def start(cls, settings: EndpointSettings) -> IrohDefault:
        """Bind. Raises ``IroshError`` (bind-failed, port-taken)."""
        return cls(settings, await bind_endpoint(settings))

    @property
    def id(self) -> str:
        return self._endpoint.id

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

    def route(self) -> Route:
        route = self._endpoint.route()
        relays = dict.fromkeys([*route.relays, *(self._settings.relays or ())])
        return Route(route.endpoint_id, tuple(relays), _most_useful_first(route.addresses))

    async def dial(self, route: Route) -> Connection:
        for url in route.relays:
            if url not in self._known_relays:
                self._known_relays.add(url)
                await self._endpoint.add_relay(url, self._settings.relay_tokens.get(url))
        # The engine takes one relay for each attempt; the addresses go with every attempt.
        attempts = [Route(route.endpoint_id, (relay,), route.addresses) for relay in route.relays] or [route]
        try:
            async with asyncio.timeout(DIAL_DEADLINE):
                return await self._race(attempts)
        except TimeoutError:
            raise _unreachable(route) from None

    async def _race(self, attempts: list[Route]) -> WheelConnection:
        pending: set[asyncio.Task[WheelConnection]] = set()
        waiting = list(attempts)
        failure: IroshError | None = None
        try:
            while waiting or pending:
                if waiting:
                    pending.add(asyncio.create_task(self._endpoint.connect(waiting.pop(0))))
                done, pending = await asyncio.wait(
                    pending, timeout=STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    try:
                        return task.result()
                    except IroshError as error:
                        if failure is None or error.code is not ErrorCode.UNREACHABLE:
                            failure = error
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        assert failure is not None
        if failure.code is ErrorCode.UNREACHABLE:
            raise _unreachable(attempts[0]) from failure
        raise failure

    async def accept(self) -> Connection | None:
        return await self._endpoint.accept()

    async def close(self) -> None:
        await self._endpoint.close()


def _unreachable(route: Route) -> IroshError:
    tried = [*route.addresses[:4], *(f"relay {url}" for url in route.relays)]
    if not tried:
        return IroshError(
            ErrorCode.UNREACHABLE,
            f"no address is known for {route.endpoint_id[:10]}… and discovery did not find it",
            "connect with a ticket once: `irosh invite` on the host prints one",
        )
    return IroshError(
        ErrorCode.UNREACHABLE,
        f"the peer does not answer (tried {', '.join(tried)})",
        "is `irosh host` running there, on a network or relay that this machine reaches?",
    )


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
