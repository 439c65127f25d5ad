"""The embedded relay over TLS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.relay.frames import Datagrams
from tests.support.relay_client import ALICE, BOB, DEADLINE, joined, relay, request, run, until
from tests.support.tls_certificate import self_signed


def test_datagrams_pass_over_tls(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=cert)

    async def body() -> None:
        async with relay(tls_cert=cert, tls_key=key) as server:
            assert server.url.startswith("https://127.0.0.1:")
            assert (await request(server, "GET /ping HTTP/1.1\nHost: x\n\n", trusting))[0] == 200
            async with joined(server, ALICE, tls=trusting) as alice, joined(server, BOB, tls=trusting) as bob:
                for size in (1, 1200, 60_000):
                    await alice.send_to(BOB, bytes(size))
                    assert await bob.receive() == Datagrams(ALICE.public, 0, None, bytes(size))
            async with joined(server, ALICE, tls=trusting):
                pass

    run(body())


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_the_relay_runs_on_uvloop(tmp_path: Path, tls: bool) -> None:
    uvloop = pytest.importorskip("uvloop")
    cert, key = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=cert) if tls else None
    settings = {"tls_cert": cert, "tls_key": key} if tls else {}

    async def body() -> None:
        async with relay(close_timeout=0.2, **settings) as server:
            async with joined(server, ALICE, tls=trusting) as alice, joined(server, BOB, tls=trusting) as bob:
                await alice.send_to(BOB, bytes(60_000))
                assert await bob.receive() == Datagrams(ALICE.public, 0, None, bytes(60_000))
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)  # hangs when the relay stops
            await until(lambda: server.counters.pending == 1)
        writer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(body(), DEADLINE))


def test_tls_clients_that_never_finish_their_handshake_are_dropped(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=cert)

    async def body() -> None:
        settings: dict[str, Any] = {"tls_cert": cert, "tls_key": key, "handshake_timeout": 1.5, "max_pending": 5}
        async with relay(**settings) as server:
            silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
            _, plain = await asyncio.open_connection("127.0.0.1", server.port)
            plain.write(b"GET /ping HTTP/1.1\r\n\r\n")
            async with joined(server, ALICE, tls=trusting) as alice:
                await alice.synchronise()
                assert server.counters.pending <= 5
                for reader, writer in silent:
                    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                        await reader.readexactly(1)
                    writer.close()
            plain.close()
            # And one that hangs when the relay stops.
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            await until(lambda: server.counters.pending == 1)
        writer.close()

    run(body())


@pytest.mark.parametrize("kind", ["missing", "garbage", "of another key"])
def test_a_certificate_that_cannot_be_used_is_an_error(tmp_path: Path, kind: str) -> None:
    cert, key = self_signed(tmp_path)
    if kind == "missing":
        key = tmp_path / "nothing.pem"
    elif kind == "garbage":
        cert.write_text("no certificate\n")
    else:
        (tmp_path / "other").mkdir()
        _, key = self_signed(tmp_path / "other")

    async def body() -> None:
        with pytest.raises(IroshError) as caught:
            async with relay(tls_cert=cert, tls_key=key):
                pass
        assert caught.value.code is ErrorCode.INVALID_CONFIG

    run(body())
