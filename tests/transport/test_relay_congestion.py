"""The embedded relay under load: who is slow, or sends too much, delays and costs nobody else."""

from __future__ import annotations

import asyncio

from irosh.core.identity import Identity
from irosh.transport.relay.frames import Datagrams, EndpointGone, Ping, RelayFrame, Status, StatusCode
from tests.support.relay_client import ALICE, BOB, CAROL, DEADLINE, Client, joined, relay, run, until


def test_a_slow_receiver_loses_datagrams_and_delays_nobody() -> None:
    async def body() -> None:
        limit = 128 * 1024
        async with (
            relay(queue_bytes=limit, queue_age=30.0) as server,
            joined(server, ALICE) as alice,
            joined(server, BOB) as slow,
            joined(server, CAROL) as quick,
        ):
            slow.websocket.transport.pause_reading()
            while server.counters.dropped_full_total < 20:
                await alice.send_to(BOB, bytes(32 * 1024))
                assert server.counters.queued_bytes <= limit
                await alice.synchronise()
            await alice.send_to(CAROL, b"in time")
            assert await quick.receive() == Datagrams(ALICE.public, 0, None, b"in time")
            # What had been queued still arrives, whole and in order.
            slow.websocket.transport.resume_reading()
            for _ in range(server.counters.frames_forwarded_total - 1):
                assert await slow.receive() == Datagrams(ALICE.public, 0, None, bytes(32 * 1024))
            await slow.synchronise()
            assert server.counters.queued_bytes == 0

    run(body())


def test_what_waited_too_long_is_not_sent() -> None:
    async def body() -> None:
        async with relay(queue_age=1e-6) as server, joined(server, ALICE) as alice, joined(server, BOB) as slow:
            slow.websocket.transport.pause_reading()
            while server.counters.queued_bytes < 512 * 1024:
                await alice.send_to(BOB, bytes(32 * 1024))
                await alice.synchronise()
            slow.websocket.transport.resume_reading()
            async with asyncio.timeout(DEADLINE):
                while server.counters.queued_bytes:
                    await slow.receive()
            assert server.counters.dropped_stale_total >= 10

    run(body())


def test_what_waits_for_a_client_that_leaves_or_is_superseded_is_dropped() -> None:
    async def body() -> None:
        async with relay(queue_age=30.0) as server, joined(server, ALICE) as alice:
            for _ in range(2):
                async with joined(server, BOB) as slow:
                    slow.websocket.transport.pause_reading()
                    while not server.counters.queued_bytes:
                        await alice.send_to(BOB, bytes(32 * 1024))
                        await alice.synchronise()
                    if server.counters.superseded_total == 0:
                        async with joined(server, BOB):
                            assert server.counters.queued_bytes == 0
                    slow.websocket.transport.abort()
                await until(lambda: server.counters.clients == 1)
                assert server.counters.queued_bytes == 0
                assert await alice.receive() == EndpointGone(BOB.public)

    run(body())


def test_the_rate_limit_slows_one_client_and_tells_it() -> None:
    async def body() -> None:
        rate, burst, count, size = 1_000_000, 100_000, 80, 10_000
        async with (
            relay(rate_limit=rate, rate_burst=burst) as server,
            joined(server, ALICE) as alice,
            joined(server, BOB) as bob,
            joined(server, CAROL) as carol,
        ):
            loop = asyncio.get_running_loop()
            started = loop.time()
            sending = asyncio.create_task(send_many(alice, BOB, count, size))
            assert await alice.receive() == Status(StatusCode.RATE_LIMITED)
            await carol.send_to(BOB, b"not limited")
            sources: list[bytes] = []
            while len(sources) < count + 1:
                frame = await bob.receive()
                assert isinstance(frame, Datagrams)
                sources.append(frame.peer)
            await sending
            # One read of at most 256 KiB passes before the limiter sees it.
            assert loop.time() - started > 0.9 * (count * size - burst - 256 * 1024) / rate
            assert sources.index(CAROL.public) < count
            assert server.counters.dropped_full_total == 0
            answer: RelayFrame = Status(StatusCode.RATE_LIMITED)
            while answer != Status(StatusCode.HEALTHY):
                await alice.send(Ping(b"recover?"))
                answer = await alice.receive()

    run(body())


async def send_many(client: Client, peer: Identity, count: int, size: int) -> None:
    """Sends ``count`` datagrams of ``size`` bytes."""
    for _ in range(count):
        await client.send_to(peer, bytes(size))
