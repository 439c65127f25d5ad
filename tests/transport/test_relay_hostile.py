"""The embedded relay among hostile clients: they are dropped, memory is bounded, and others notice nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from irosh.core.identity import Identity
from irosh.transport.relay import RelayServer, codec, handshake
from irosh.transport.relay.frames import MAX_FRAME, Datagrams
from tests.support.relay_client import ALICE, BOB, DEADLINE, Client, joined, relay, run, until

MALLORY = Identity.from_secret(bytes((66,)) * 32)
UPGRADE = (
    b"GET /relay HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: iroh-relay-v2\r\n"
    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


class Friends:
    """Two clients that use the relay as it is meant to be used."""

    def __init__(self, alice: Client, bob: Client) -> None:
        self._alice, self._bob = alice, bob

    async def exchange(self) -> None:
        """Checks that datagrams still pass both ways."""
        for sender, source, receiver, target in [
            (self._alice, ALICE, self._bob, BOB),
            (self._bob, BOB, self._alice, ALICE),
        ]:
            payload = os.urandom(1200)
            await sender.send_to(target, payload)
            assert await receiver.receive() == Datagrams(source.public, 0, None, payload)


@asynccontextmanager
async def friends(server: RelayServer) -> AsyncIterator[Friends]:
    """Alice and Bob, whose datagrams pass before and after the body."""
    async with joined(server, ALICE) as alice, joined(server, BOB) as bob:
        pair = Friends(alice, bob)
        await pair.exchange()
        yield pair
        await pair.exchange()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("text", 1003),
        (b"", 1002),
        (b"\x40", 1002),
        (b"\x3f", 1002),
        (b"\x04" + bytes(31), 1002),
        (b"\x05" + bytes(34), 1002),
        (b"\x01" + bytes(97), 1002),
        (codec.encode_client_frame(handshake.answer(MALLORY.secret, bytes(16))), 1002),
        (b"\x06" + bytes(100), 1002),
        (b"\x09short", 1002),
        (b"\x04" + BOB.public + bytes(64 * 1024 - 31), 1002),
        (bytes(MAX_FRAME + 1), 1009),
        ([b"\x04" + BOB.public, b"\x00in fragments"], 1003),
    ],
)
def test_whoever_breaks_the_protocol_is_dropped(message: str | bytes | list[bytes], code: int) -> None:
    async def body() -> None:
        async with relay() as server, friends(server), joined(server, MALLORY) as mallory:
            await mallory.websocket.send(message)
            assert (await mallory.closed())[0] == code
            await until(lambda: server.counters.clients == 2)
            assert server.counters.protocol_errors_total == 1

    run(body())


@pytest.mark.parametrize(
    "raw",
    [
        b"\x82\x05hello",  # not masked
        b"\xc2\x80\0\0\0\0",  # an extension that was not agreed upon
        b"\x83\x80\0\0\0\0",  # an unknown opcode
        b"\x82\xff" + b"\xff" * 8,  # 2^64 - 1 bytes are announced
        b"\x80\x80\0\0\0\0",  # a continuation of nothing
        b"\x89\xfe\x10\0" + bytes(4 + 4096),  # a ping of 4 KiB
    ],
)
def test_whoever_breaks_the_websocket_protocol_is_dropped(raw: bytes) -> None:
    async def body() -> None:
        async with relay() as server, friends(server), joined(server, MALLORY) as mallory:
            mallory.websocket.transport.write(raw)
            await mallory.closed()
            await until(lambda: server.counters.clients == 2)
            assert server.counters.protocol_errors_total == 1

    run(body())


@given(st.lists(st.binary(max_size=80) | st.builds(bytes, st.integers(0, 70_000)), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_no_message_whatever_harms_the_others(messages: list[bytes]) -> None:
    async def body() -> None:
        async with relay() as server, friends(server), joined(server, MALLORY) as mallory:
            for message in messages:
                try:
                    await mallory.websocket.send(message)
                except ConnectionClosed:
                    break

    run(body())


@given(st.binary(max_size=300), st.sampled_from([b"", UPGRADE, UPGRADE[:40], b"GET /metrics HTTP/1.1\r\n"]))
@settings(max_examples=60, deadline=None)
def test_no_bytes_whatever_before_authentication_harm_the_others(garbage: bytes, prefix: bytes) -> None:
    async def body() -> None:
        async with relay() as server, friends(server):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(prefix + garbage + b"\r\n\r\n")
            writer.write_eof()
            await until(lambda: server.counters.pending == 0)
            writer.close()

    run(body())


@pytest.mark.parametrize("said", [b"", UPGRADE[:60], UPGRADE], ids=["nothing", "half a request", "a request"])
def test_whoever_does_not_finish_its_handshake_is_dropped(said: bytes) -> None:
    async def body() -> None:
        async with relay(handshake_timeout=1.0) as server, friends(server):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(said)
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(ConnectionError):
                    while await reader.read(1000):
                        pass
                    raise ConnectionResetError
            writer.close()
            await until(lambda: server.counters.handshake_timeouts_total == 1)

    run(body())


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /relay HTTP/1.1\r\n" + b"x: y\r\n" * 1000 + b"\r\n",
        b"GET /relay HTTP/1.1\r\n" + (b"x: " + b"y" * 8000 + b"\r\n") * 8,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n",
        b"GET /relay HTTP/1.1\r\nContent-Length: 100000\r\n\r\n",
    ],
    ids=["path", "headers", "long headers", "TLS", "body"],
)
def test_requests_that_are_too_large_or_none_are_dropped(head: bytes) -> None:
    async def body() -> None:
        async with relay() as server, friends(server):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            async with asyncio.timeout(DEADLINE):
                try:
                    writer.write(head)
                    answer = await reader.read()
                except ConnectionError:
                    answer = b""
            assert not answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 101"))
            writer.close()
            await until(lambda: server.counters.pending == 0)
            assert server.counters.protocol_errors_total == 1

    run(body())


def test_a_crowd_of_silent_connections_neither_grows_without_bound_nor_keeps_others_out() -> None:
    async def body() -> None:
        async with relay(max_pending=20) as server, friends(server) as pair:
            crowd = []
            for number in range(300):
                crowd.append(await asyncio.open_connection("127.0.0.1", server.port))
                assert server.counters.pending <= 20
                if number % 100 == 50:
                    async with joined(server, MALLORY):
                        await pair.exchange()
            await until(lambda: server.counters.connections_displaced_total >= 280)
            for _, writer in crowd:
                writer.close()
            await until(lambda: server.counters.pending == 0)

    run(body())


@pytest.mark.parametrize(
    "ping",
    [
        pytest.param(b"\x82\x89\0\0\0\0\x09" + bytes(8), id="of the relay protocol"),
        pytest.param(b"\x89\xfd\0\0\0\0" + bytes(125), id="of WebSocket"),
    ],
)
def test_whoever_floods_with_pings_without_reading_is_dropped(ping: bytes) -> None:
    async def body() -> None:
        async with relay() as server, friends(server), joined(server, MALLORY) as mallory:
            transport = mallory.websocket.transport
            transport.pause_reading()
            while not transport.is_closing():
                transport.write(ping * 200)
                await asyncio.sleep(0)
            assert server.counters.unread_total == 1
            assert server.counters.clients == 2

    run(body())


def test_a_flood_of_datagrams_to_nobody_is_only_counted() -> None:
    async def body() -> None:
        async with relay() as server, friends(server), joined(server, MALLORY) as mallory:
            for number in range(2000):
                frame = Datagrams(number.to_bytes(32, "big"), 0, None, bytes(1200))
                await mallory.send(frame)
            await until(lambda: server.counters.dropped_unknown_total == 2000)
            assert server.counters.queued_bytes == 0

    run(body())


def test_strangers_are_logged_at_debug_and_denials_not_without_end(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        with caplog.at_level(logging.DEBUG, "irosh.transport.relay"):
            async with relay(tokens=frozenset({"right"})) as server:
                for _ in range(50):
                    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    writer.write(UPGRADE)
                    await reader.read()
                    writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(b"garbage\r\n\r\n")
                await reader.read()
                writer.close()
                await until(lambda: server.counters.pending == 0)
        shown = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
        assert 1 <= len([line for line in shown if "denied" in line]) <= 15
        assert not any("broke" in line for line in shown)
        assert any("broke" in record.getMessage() for record in caplog.records)
        assert server.counters.denied_token_total == 50

    run(body())
