"""What clients of a host share is there until the last of them has gone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from ipaddress import IPv4Network, IPv6Network

import pytest

from irosh.services.vpn.host_network import HostNetwork
from irosh.services.vpn.name_service import DNS_PORT
from irosh.services.vpn.pool import Pool
from tests.lab.host import Host
from tests.lab.namespace import entered
from tests.lab.network import Network
from tests.lab.requirements import requires_netns

pytestmark = [pytest.mark.netns, requires_netns()]

POOL = Pool(IPv4Network("100.64.7.0/24"), IPv6Network("fd00:7::/64"))


def test_names_are_answered_until_the_last_client_has_gone() -> None:
    with Network() as network:
        machine = network.host("host")
        with entered(machine.namespace):
            asyncio.run(_come_and_go(machine))
        assert machine.run("nft", "list", "ruleset").stdout == b""


async def _come_and_go(machine: Host) -> None:
    shared = HostNetwork([POOL])
    async with AsyncExitStack() as second:
        async with shared.used():
            await second.enter_async_context(shared.used())
            machine.ip("address", "add", f"{POOL.gateway4}/32", "dev", "lo")
            machine.ip("address", "add", f"{POOL.gateway6}/128", "dev", "lo")
            await _ask_both()
        await _ask_both()
    with pytest.raises(ConnectionRefusedError):
        await _ask_both()


async def _ask_both() -> None:
    for address in POOL.gateways:
        _, writer = await asyncio.open_connection(str(address), DNS_PORT)
        writer.close()
