"""Whom the embedded relay admits."""

from __future__ import annotations

import logging

import pytest

from irosh.transport.relay import RelayConfig, handshake
from irosh.transport.relay.frames import ServerChallenge, ServerDeniesAuth
from tests.support.relay_client import ALICE, BOB, connected, joined, relay, run, until


def test_a_token_is_needed_where_tokens_are_set() -> None:
    async def body() -> None:
        async with relay(tokens=frozenset({"secret-1", "secret-2"})) as server:
            async with joined(server, ALICE, token="secret-2"):
                pass
            for token, reason in [
                ("", "this relay needs a token"),
                ("secret", "wrong token"),
                ("sécret", "wrong token"),
            ]:
                async with connected(server, token=token) as client:
                    assert await client.receive() == ServerDeniesAuth(reason)
                    assert await client.closed() == (1008, reason)
            assert server.counters.denied_token_total == 3

    run(body())


def test_tokens_appear_in_no_log_and_in_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        with caplog.at_level(logging.DEBUG):
            async with relay(tokens=frozenset({"hunter2-right"})) as server:
                async with joined(server, ALICE, token="hunter2-right"):
                    pass
                async with connected(server, token="hunter2-wrong") as client:
                    await client.closed()
        ours = [record.getMessage() for record in caplog.records if record.name.startswith("irosh")]
        assert any("denied: wrong token" in line for line in ours)
        assert not any("hunter2" in line for line in ours)
        assert "hunter2" not in repr(RelayConfig(tokens=frozenset({"hunter2-right"})))

    run(body())


def test_only_allowed_ids_are_served_where_ids_are_set() -> None:
    async def body() -> None:
        async with relay(allow=frozenset({ALICE.public})) as server:
            async with joined(server, ALICE):
                pass
            async with connected(server) as client:
                denied = ServerDeniesAuth("this endpoint id is not allowed on this relay")
                assert await client.authenticate(BOB) == denied
                await client.closed()
            assert server.counters.denied_not_allowed_total == 1

    run(body())


def test_a_wrong_signature_is_denied() -> None:
    async def body() -> None:
        async with relay() as server, connected(server) as client:
            challenge = await client.receive()
            assert isinstance(challenge, ServerChallenge)
            await client.send(handshake.answer(ALICE.secret, bytes(16)))
            assert await client.receive() == ServerDeniesAuth("signature invalid")
            assert server.counters.denied_signature_total == 1

    run(body())


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\x09" + bytes(8), "the first frame must be the client's authentication"),
        (b"\x2a", "a client does not send frames of type 42"),
        (b"\x01short", "the client authentication frame is malformed"),
        (b"", "the frame is empty"),
    ],
)
def test_anything_but_an_authentication_is_denied_with_a_reason(message: bytes, reason: str) -> None:
    async def body() -> None:
        async with relay() as server, connected(server) as client:
            await client.receive()
            await client.websocket.send(message)
            assert await client.receive() == ServerDeniesAuth(reason)
            await client.closed()
            assert server.counters.protocol_errors_total == 1

    run(body())


def test_a_full_relay_says_so() -> None:
    async def body() -> None:
        async with relay(max_clients=1) as server:
            async with joined(server, ALICE), connected(server) as client:
                assert await client.receive() == ServerDeniesAuth("the relay is full")
            await until(lambda: server.counters.clients == 0)
            async with joined(server, BOB):
                assert server.counters.denied_full_total == 1

    run(body())
