"""The embedded relay, spoken to by hand: what it forwards, what it tells its clients, and whom it drops."""

from __future__ import annotations

from irosh.transport.relay.frames import (
    Datagrams,
    EndpointGone,
    Health,
    Ping,
    Pong,
    ServerDeniesAuth,
    Status,
    StatusCode,
)
from irosh.transport.relay.registry import MAX_SAME_ID
from tests.support.relay_client import ALICE, BOB, CAROL, connected, joined, relay, run


def test_datagrams_reach_their_destination_with_the_source_in_place_of_it() -> None:
    async def body() -> None:
        async with relay() as server, joined(server, ALICE) as alice, joined(server, BOB) as bob:
            await alice.send(Datagrams(BOB.public, 2, None, b"single"))
            assert await bob.receive() == Datagrams(ALICE.public, 2, None, b"single")
            await bob.send(Datagrams(ALICE.public, 1, 3, b"onetwo"))
            assert await alice.receive() == Datagrams(BOB.public, 1, 3, b"onetwo")
            largest = bytes(64 * 1024 - 33)
            await alice.send_to(BOB, largest)
            assert await bob.receive() == Datagrams(ALICE.public, 0, None, largest)
            for size in (91, 92, 93):  # around the border between two forms of the WebSocket header
                await alice.send_to(BOB, bytes(size))
                assert await bob.receive() == Datagrams(ALICE.public, 0, None, bytes(size))

    run(body())


def test_an_unusual_spelling_of_the_type_is_forwarded_as_well() -> None:
    async def body() -> None:
        async with relay() as server, joined(server, ALICE) as alice, joined(server, BOB) as bob:
            await alice.websocket.send(b"\x40\x04" + BOB.public + b"\x00hello")
            assert await bob.receive() == Datagrams(ALICE.public, 0, None, b"hello")

    run(body())


def test_many_datagrams_keep_their_order() -> None:
    async def body() -> None:
        async with relay() as server, joined(server, ALICE) as alice, joined(server, BOB) as bob:
            for number in range(500):
                await alice.send_to(BOB, number.to_bytes(2, "big") * 50)
            for number in range(500):
                assert await bob.receive() == Datagrams(ALICE.public, 0, None, number.to_bytes(2, "big") * 50)

    run(body())


def test_pings_are_answered() -> None:
    async def body() -> None:
        async with relay() as server, joined(server, ALICE) as alice:
            await alice.send(Ping(b"12345678"))
            assert await alice.receive() == Pong(b"12345678")
            assert server.counters.pings_received_total == 1

    run(body())


def test_those_who_corresponded_hear_that_an_endpoint_has_gone() -> None:
    async def body() -> None:
        async with relay() as server, joined(server, ALICE) as alice, joined(server, CAROL) as carol:
            async with joined(server, BOB) as bob:
                await alice.send_to(BOB, b"to one that leaves")
                await bob.receive()
                await bob.send_to(CAROL, b"from one that leaves")
                await carol.receive()
            assert await alice.receive() == EndpointGone(BOB.public)
            assert await carol.receive() == EndpointGone(BOB.public)
            await alice.send_to(BOB, b"too late")
            await alice.synchronise()
            assert server.counters.dropped_unknown_total == 1

    run(body())


def test_of_two_connections_with_one_id_the_newest_serves() -> None:
    async def body() -> None:
        same = Status(StatusCode.SAME_ENDPOINT_ID_CONNECTED)
        async with relay() as server, joined(server, ALICE) as alice, joined(server, BOB) as older:
            async with joined(server, BOB) as newer:
                assert await older.receive() == same
                await alice.send_to(BOB, b"for the newer")
                assert await newer.receive() == Datagrams(ALICE.public, 0, None, b"for the newer")
                # The older stays alive, or it would reconnect and be the newest; but it gets nothing.
                await older.synchronise()
            assert await older.receive() == Status(StatusCode.HEALTHY)
            await alice.send_to(BOB, b"for the older again")
            assert await older.receive() == Datagrams(ALICE.public, 0, None, b"for the older again")
            assert server.counters.superseded_total == 1

    run(body())


def test_clients_of_version_1_get_the_status_as_text() -> None:
    async def body() -> None:
        async with relay() as server, joined(server, ALICE, version="iroh-relay-v1") as older:
            async with joined(server, ALICE):
                assert await older.receive() == Health("another endpoint connected with the same endpoint id")
            assert await older.receive() == Health("the connection is healthy again")

    run(body())


def test_one_id_cannot_take_all_places() -> None:
    async def body() -> None:
        async with relay() as server:
            held = [joined(server, ALICE) for _ in range(MAX_SAME_ID)]
            for each in held:
                await each.__aenter__()
            async with connected(server) as client:
                denied = ServerDeniesAuth("too many connections with this endpoint id")
                assert await client.authenticate(ALICE) == denied
            for each in held:
                await each.__aexit__(None, None, None)

    run(body())


# --- life signs


def test_a_silent_client_is_pinged_and_then_dropped() -> None:
    async def body() -> None:
        async with relay(ping_interval=0.2, idle_timeout=1.0) as server, joined(server, ALICE) as alice:
            assert isinstance(await alice.receive(), Ping)
            assert await alice.closed() == (1001, "silent for 1 s")
            assert server.counters.idle_total == 1

    run(body())


def test_a_client_that_answers_pings_stays() -> None:
    async def body() -> None:
        async with relay(ping_interval=0.02, idle_timeout=30.0) as server, joined(server, ALICE) as alice:
            for _ in range(5):
                ping = await alice.receive()
                assert isinstance(ping, Ping)
                await alice.send(Pong(ping.data))
            await alice.synchronise()
            assert server.counters.pings_sent_total >= 5
            assert server.counters.idle_total == 0

    run(body())
