"""Relays that are down, lying, or refuse us: a clear reason, not a silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.rendezvous.interfaces import Contact
from irosh.rendezvous.iroh_default import IrohDefault
from irosh.transport.relay import RelayConfig, RelayServer
from irosh.transport.relay.probe import probe_relay
from irosh.transport.wheel import EndpointSettings
from tests.support.nodes import DEADLINE, LOOPBACK
from tests.support.sockets import closed_port
from tests.support.web_server import web_server


@asynccontextmanager
async def _node(relay: str, token: str | None = None, *, accepts: bool = True) -> AsyncIterator[IrohDefault]:
    settings = EndpointSettings(
        secret=Identity.generate().secret,
        bind=LOOPBACK,
        relays=(relay,),
        relay_token=lambda _url: token,
        accepts=accepts,
    )
    rendezvous = await IrohDefault.start(settings)
    try:
        await rendezvous.wait_reachable(hosting=accepts)
        yield rendezvous
    finally:
        await rendezvous.close()


def test_two_nodes_meet_by_the_relay_alone() -> None:
    async def body() -> None:
        config = RelayConfig(host="127.0.0.1", port=0, tokens=frozenset({"good"}))
        async with (
            asyncio.timeout(DEADLINE),
            RelayServer(config) as relay,
            _node(relay.url, "good") as host,
            _node(relay.url, "good", accepts=False) as client,
        ):
            assert await host.problems() == []
            accepting = asyncio.create_task(host.accept())
            host_id = host.contact().endpoint_id
            connection = (await client.dial(Contact(host_id, (relay.url,)), None)).connection
            accepted = await accepting
            assert accepted is not None
            assert accepted.peer_id == client.contact().endpoint_id
            assert any(path.relayed for path in connection.paths())

    asyncio.run(body())


def test_a_wrong_or_missing_token_is_named() -> None:
    async def body() -> None:
        config = RelayConfig(host="127.0.0.1", port=0, tokens=frozenset({"good"}))
        async with asyncio.timeout(DEADLINE), RelayServer(config) as relay:
            for token in ("bad", None):
                async with _node(relay.url, token) as host:
                    (problem,) = await host.problems()
                    assert problem.code is ErrorCode.RELAY_DENIED
                    assert "token" in problem.message
                    assert "bad" not in str(problem)
            async with _node(relay.url, "bad", accepts=False) as client:
                with pytest.raises(IroshError) as error:
                    await client.dial(Contact(Identity.generate().id, (relay.url,)), None)
                assert error.value.code is ErrorCode.RELAY_DENIED

    asyncio.run(body())


def test_an_identity_that_the_relay_does_not_serve_is_told() -> None:
    async def body() -> None:
        config = RelayConfig(host="127.0.0.1", port=0, allow=frozenset({bytes.fromhex(Identity.generate().id)}))
        async with asyncio.timeout(DEADLINE), RelayServer(config) as relay, _node(relay.url) as host:
            (problem,) = await host.problems()
            assert problem.code is ErrorCode.RELAY_DENIED

    asyncio.run(body())


def test_a_relay_that_is_down_is_named() -> None:
    async def body() -> None:
        url = f"http://127.0.0.1:{closed_port()}"
        async with asyncio.timeout(DEADLINE), _node(url) as host:
            (problem,) = await host.problems()
            assert problem.code is ErrorCode.RELAY_UNREACHABLE
            assert url in problem.message
            with pytest.raises(IroshError) as error:
                await host.dial(Contact(Identity.generate().id, (url,)), None)
            assert error.value.code is ErrorCode.RELAY_UNREACHABLE

    asyncio.run(body())


def test_what_is_no_relay_is_told_apart() -> None:
    async def body() -> None:
        async with asyncio.timeout(DEADLINE), web_server() as port:
            problem = await probe_relay(f"http://127.0.0.1:{port}", None, Identity.generate().secret)
            assert problem is not None
            assert problem.code is ErrorCode.RELAY_UNREACHABLE
            assert "no relay" in problem.message

    asyncio.run(body())


def test_a_good_relay_has_no_problem() -> None:
    async def body() -> None:
        async with asyncio.timeout(DEADLINE), RelayServer(RelayConfig(host="127.0.0.1", port=0)) as relay:
            assert await probe_relay(relay.url, None, None) is None
            assert await probe_relay(relay.url, None, Identity.generate().secret) is None

    asyncio.run(body())


def test_one_dead_relay_among_two_does_not_matter() -> None:
    async def body() -> None:
        dead = f"http://127.0.0.1:{closed_port()}"
        async with (
            asyncio.timeout(DEADLINE),
            RelayServer(RelayConfig(host="127.0.0.1", port=0)) as relay,
            _node(relay.url) as host,
            _node(dead, accepts=False) as client,
        ):
            accepting = asyncio.create_task(host.accept())
            host_id = host.contact().endpoint_id
            meeting = await client.dial(Contact(host_id, (dead, relay.url)), None)
            assert meeting.connection.peer_id == host_id
            await accepting

    asyncio.run(body())
