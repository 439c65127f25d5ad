"""Finding endpoints on the local network without any server: multicast DNS (RFC 6762) and DNS-SD (RFC 6763)."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

from irosh.core.lan_record import SERVICE, decode_record, encode_record, host_name, instance_name
from irosh.core.socket_spec import split_host_port

if TYPE_CHECKING:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

log = logging.getLogger(__name__)

FIND_DEADLINE = 5.0
CHECK_EVERY = 10.0
"""Seconds between looks whether the machine's addresses have changed."""


async def find_on_lan(endpoint_id: str, timeout: float = FIND_DEADLINE) -> tuple[str, ...]:
    """The addresses that somebody on the LAN says the endpoint has; empty when nobody says so in time."""
    try:
        async with _responder() as zeroconf:
            from zeroconf.asyncio import AsyncServiceInfo

            info = AsyncServiceInfo(SERVICE, instance_name(endpoint_id))
            if not await info.async_request(zeroconf.zeroconf, timeout * 1000):
                return ()
            return decode_record(info.properties)
    except OSError as error:  # no interface, or one without multicast
        log.debug("no multicast DNS: %s", error)
        return ()


async def announce_on_lan(endpoint_id: str, addresses: Callable[[], tuple[str, ...]]) -> None:
    """Answer for the endpoint until cancelled. ``addresses`` are asked again and again, as interfaces come and go."""
    while True:
        current = addresses()
        try:
            if current:
                async with _responder() as zeroconf:
                    service = _service(endpoint_id, current)
                    await (await zeroconf.async_register_service(service, cooperating_responders=True))
                    log.info("announced on the local network: %s", ", ".join(current))
                    # The library joins the interfaces that there are when it starts, so it starts anew.
                    await _changed(addresses, current)
            else:
                await _changed(addresses, current)
        except OSError as error:
            log.info("not announced on the local network: %s", error)
            await asyncio.sleep(CHECK_EVERY)


async def _changed(addresses: Callable[[], tuple[str, ...]], known: tuple[str, ...]) -> None:
    while True:
        await asyncio.sleep(CHECK_EVERY)
        if addresses() != known:
            return


def _service(endpoint_id: str, addresses: tuple[str, ...]) -> AsyncServiceInfo:
    from zeroconf.asyncio import AsyncServiceInfo

    hosts = [split_host_port(address) for address in addresses]
    return AsyncServiceInfo(
        SERVICE,
        instance_name(endpoint_id),
        port=int(hosts[0][1]),
        addresses=[ip_address(host.strip("[]")).packed for host, _ in hosts],
        properties=encode_record(addresses),
        server=host_name(endpoint_id),
    )


@asynccontextmanager
async def _responder() -> AsyncIterator[AsyncZeroconf]:
    """The library's sockets, on all interfaces. ``OSError`` when there is none to use."""
    # Its import takes as long as a short dial; the loop must not wait for it.
    await asyncio.to_thread(importlib.import_module, "zeroconf.asyncio")
    logging.getLogger("zeroconf").setLevel(logging.CRITICAL)  # it complains about every packet that is not for it
    responder = _open()
    try:
        yield responder
    finally:
        with contextlib.suppress(OSError):
            await responder.async_close()


def _open() -> AsyncZeroconf:
    from zeroconf import InterfaceChoice, IPVersion
    from zeroconf.asyncio import AsyncZeroconf

    try:
        return AsyncZeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.All)
    except OSError:  # no IPv6
        return AsyncZeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.V4Only)
