"""The mode ``iroh-default``: what a ticket says of where its host is."""

from __future__ import annotations

import asyncio

import pytest

from irosh.core.identity import Identity
from irosh.rendezvous.iroh_default import IrohDefault
from irosh.rendezvous.local_addresses import local_addresses
from irosh.transport.wheel import EndpointSettings
from tests.support.stun_server import claiming, stun_server


@pytest.mark.skipif(
    not any(each.version == 4 for each in local_addresses()), reason="needs an IPv4 address besides loopback's"
)
def test_the_address_outside_the_nat_is_among_them_at_once() -> None:
    async def addresses() -> tuple[str, ...]:
        settings = EndpointSettings(Identity.generate().secret, bind=("0.0.0.0:0",), relays=())
        async with stun_server(claiming("203.0.113.5", 4711)) as server:
            host = await IrohDefault.start(settings, stun_servers=[server.name])
            try:
                return host.contact().addresses
            finally:
                await host.close()

    async def three() -> None:  # the engine takes its time in most cases, not in all
        for _ in range(3):
            assert (await addresses())[0] == "203.0.113.5:4711"

    asyncio.run(three())
