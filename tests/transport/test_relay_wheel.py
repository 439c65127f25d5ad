"""The embedded relay serving the real thing: endpoints of the iroh wheel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from iroh import iroh_ffi as iroh

from irosh.core.identity import Identity
from tests.support.relay_client import relay, run, until

ALPN = b"t/1"
DEADLINE = 60.0


@asynccontextmanager
async def endpoint(url: str, *, token: str | None = None, secret: bytes | None = None) -> AsyncIterator[iroh.Endpoint]:
    """An endpoint of the wheel that uses the relay at ``url`` and nothing else."""
    relays = iroh.RelayMap.empty()
    relays.insert(iroh.RelayConfig(url=url, auth_token=token))
    options = iroh.EndpointOptions(
        preset=iroh.preset_minimal(),
        relay_mode=iroh.RelayMode.custom(relays),
        alpns=[ALPN],
        bind_addr="127.0.0.1:0",
        secret_key=secret or os.urandom(32),
    )
    bound = await iroh.Endpoint.bind(options)
    try:
        yield bound
    finally:
        await bound.close()


async def online(*endpoints: iroh.Endpoint) -> None:
    """Returns when all have the relay's confirmation."""
    async with asyncio.timeout(DEADLINE):
        for each in endpoints:
            await each.online()


async def accept_and_echo(listener: iroh.Endpoint) -> iroh.Connection:
    """Accepts one connection, and returns the bytes of its first stream to the sender."""
    incoming = await listener.accept_next()
    assert incoming is not None
    connection = await (await incoming.accept()).connect()
    stream = await connection.accept_bi()
    data = await stream.recv().read_to_end(10_000_000)
    await stream.send().write_all(data)
    await stream.send().finish()
    return connection


async def exchange(dialer: iroh.Endpoint, listener: iroh.Endpoint, url: str, payload: bytes) -> None:
    """Checks that ``payload`` comes back over a connection made with nothing but the relay's address."""
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as tasks:
        echoing = tasks.create_task(accept_and_echo(listener))
        connection = await dialer.connect(iroh.EndpointAddr(listener.id(), url, []), ALPN)
        stream = await connection.open_bi()
        await stream.send().write_all(payload)
        await stream.send().finish()
        assert await stream.recv().read_to_end(10_000_000) == payload
    echoing.result().close(0, b"")
    connection.close(0, b"")


def test_two_endpoints_meet_and_exchange_bytes() -> None:
    async def body() -> None:
        async with relay() as server, endpoint(server.url) as alice, endpoint(server.url) as bob:
            await online(alice, bob)
            assert server.counters.clients == 2
            await exchange(alice, bob, server.url, os.urandom(100_000))
            counters = server.counters
            assert counters.frames_forwarded_total >= 4
            assert counters.protocol_errors_total == counters.dropped_full_total == 0

    run(body())


def test_a_token_admits_and_a_wrong_one_does_not() -> None:
    async def body() -> None:
        async with (
            relay(tokens=frozenset({"let-me-in"})) as server,
            endpoint(server.url, token="let-me-in") as alice,
        ):
            await online(alice)
            async with endpoint(server.url, token="wrong"), endpoint(server.url):
                await until(lambda: server.counters.denied_token_total >= 4)
                assert server.counters.clients == 1

    run(body())


def test_only_allowed_endpoints_get_in() -> None:
    async def body() -> None:
        alice_secret = os.urandom(32)
        allow = frozenset({Identity.from_secret(alice_secret).public})
        async with relay(allow=allow) as server, endpoint(server.url, secret=alice_secret) as alice:
            await online(alice)
            async with endpoint(server.url):
                await until(lambda: server.counters.denied_not_allowed_total >= 2)
                assert server.counters.clients == 1

    run(body())


def test_of_two_endpoints_with_one_key_the_newest_is_reached() -> None:
    async def body() -> None:
        secret = os.urandom(32)
        async with relay() as server, endpoint(server.url) as alice, endpoint(server.url, secret=secret) as older:
            await online(alice, older)
            async with endpoint(server.url, secret=secret) as newer:
                await online(newer)
                assert (server.counters.clients, server.counters.endpoints) == (3, 2)
                await exchange(alice, newer, server.url, b"for the newer")
            await until(lambda: server.counters.clients == 2)
            await exchange(alice, older, server.url, b"for the older again")
            assert server.counters.superseded_total == 1

    run(body())


def test_an_endpoint_that_leaves_is_reported_gone() -> None:
    async def body() -> None:
        async with relay() as server, endpoint(server.url) as alice:
            async with endpoint(server.url) as bob:
                await online(alice, bob)
                await exchange(alice, bob, server.url, b"before leaving")
            await until(lambda: server.counters.endpoints_gone_total == 1)
            # The wheel accepts the frame: it is still connected, and can be reached.
            async with endpoint(server.url) as carol:
                await online(carol)
                await exchange(carol, alice, server.url, b"after")
            assert server.counters.handshakes_total == 3

    run(body())


def test_endpoints_come_back_to_a_relay_that_restarted() -> None:
    async def body() -> None:
        async with relay() as first:
            url, port = first.url, first.port
            alice_context, bob_context = endpoint(url), endpoint(url)
            alice, bob = await alice_context.__aenter__(), await bob_context.__aenter__()
            await online(alice, bob)
            # A connection counts as established, and is renewed at once, after its first pong.
            await until(lambda: first.counters.pings_received_total >= 2)
        async with relay(port=port) as second:
            await until(lambda: second.counters.clients == 2)
            await exchange(alice, bob, url, b"after the restart")
            await bob_context.__aexit__(None, None, None)
            await alice_context.__aexit__(None, None, None)

    run(body())


def test_an_endpoint_is_told_that_it_is_rate_limited() -> None:
    async def body() -> None:
        async with relay(rate_limit=200_000.0, rate_burst=70_000) as server, endpoint(server.url) as alice:
            await online(alice)
            # Dialing an endpoint that is not there keeps to the relay; a connection might find a direct path.
            nobody = iroh.EndpointAddr(iroh.SecretKey.generate().public(), server.url, [])
            dialing = [asyncio.create_task(alice.connect(nobody, ALPN)) for _ in range(100)]
            await until(lambda: server.counters.rate_limited_total > 0)
            await until(lambda: alice.stats()["socket:relay_conns_ratelimited"].value == 1)
            for each in dialing:
                each.cancel()
            await asyncio.wait(dialing)

    run(body())
