"""The embedded relay from its settings to its end: it starts, stops and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.relay import RelayConfig
from irosh.transport.relay.frames import Restarting
from tests.support.relay_client import ALICE, joined, relay, run, until


@pytest.mark.parametrize(
    "settings",
    [
        {"port": 65536},
        {"allow": frozenset({b"short"})},
        {"tokens": frozenset({""})},
        {"tokens": frozenset({"line\nbreak"})},
        {"tls_key": Path("key.pem")},
        {"max_clients": 0},
        {"queue_bytes": 1000},
        {"rate_limit": 10.0},
        {"ping_interval": 30.0, "idle_timeout": 30.0},
        {"handshake_timeout": 0.0},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(IroshError) as caught:
        RelayConfig(**settings)
    assert caught.value.code is ErrorCode.INVALID_CONFIG


def test_clients_are_told_that_the_relay_restarts() -> None:
    async def body() -> None:
        async with relay() as server:
            client = joined(server, ALICE)
            alice = await client.__aenter__()
        restarting = await alice.receive()
        assert isinstance(restarting, Restarting)
        assert restarting.reconnect_in_ms < 1000
        assert await alice.closed() == (1012, "the relay is shutting down")
        await client.__aexit__(None, None, None)

    run(body())


def test_a_client_that_does_not_react_does_not_hold_up_the_shutdown() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        async with relay(close_timeout=0.2) as server:
            client = joined(server, ALICE)
            alice = await client.__aenter__()
            alice.websocket.transport.pause_reading()
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)  # never says a word
            await until(lambda: server.counters.pending == 1)
            stopping = loop.time()
        assert loop.time() - stopping < 15
        writer.close()
        alice.websocket.transport.abort()
        await client.__aexit__(None, None, None)

    run(body())


def test_cancellation_leaves_nothing_behind() -> None:
    async def body() -> None:
        started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def serve() -> None:
            async with relay() as server:
                started.set_result(server.port)
                await asyncio.Event().wait()

        task = asyncio.create_task(serve())
        port = await started
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with socket.create_server(("127.0.0.1", port)):
            pass

    run(body())


def test_a_relay_can_follow_another_on_the_same_port() -> None:
    async def body() -> None:
        async with relay() as first, joined(first, ALICE):
            port = first.port
            with pytest.raises(IroshError) as caught:
                async with relay(port=port):
                    pass
            assert caught.value.code is ErrorCode.PORT_TAKEN
            assert caught.value.hint
        async with relay(port=port) as second, joined(second, ALICE):
            assert second.port == port

    run(body())


def test_an_address_that_is_not_ours_is_an_error() -> None:
    async def body() -> None:
        with pytest.raises(IroshError) as caught:
            async with relay(host="192.0.2.1"):
                pass
        assert caught.value.code is ErrorCode.BIND_FAILED

    run(body())


@pytest.mark.parametrize(("host", "expected"), [("0.0.0.0", "127.0.0.1"), ("localhost", "localhost"), ("::1", "[::1]")])
def test_the_url_names_an_address_that_can_be_reached(host: str, expected: str) -> None:
    async def body() -> None:
        try:
            async with relay(host=host) as server:
                assert server.url == f"http://{expected}:{server.port}"
                async with joined(server, ALICE):
                    assert (server.addresses[0][1], server.counters.clients) == (server.port, 1)
        except IroshError as error:
            assert error.code is ErrorCode.BIND_FAILED
            pytest.skip(f"this machine has no {host}")

    run(body())
