"""The embedded relay, spoken to by hand: whom it admits, what it forwards, and what it tells its clients."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import logging
import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.exceptions import InvalidStatus

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.transport.relay import RelayConfig, RelayServer, handshake
from irosh.transport.relay.frames import (
    Datagrams,
    EndpointGone,
    Health,
    Ping,
    Pong,
    RelayFrame,
    Restarting,
    ServerChallenge,
    ServerDeniesAuth,
    Status,
    StatusCode,
)
from irosh.transport.relay.registry import MAX_SAME_ID
from tests.support.relay_client import (
    ALICE,
    BOB,
    CAROL,
    DEADLINE,
    Client,
    connected,
    joined,
    relay,
    run,
    until,
)


async def request(server: RelayServer, head: str, tls: ssl.SSLContext | None = None) -> tuple[int, str, bytes]:
    """Sends a bare HTTP request; returns the status, the header and the body."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=tls)
        writer.write(head.replace("\n", "\r\n").encode())
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    header, _, body = answer.partition(b"\r\n\r\n")
    return int(header.split()[1]), header.decode().lower(), body


# --- HTTP


def test_probes_and_pages() -> None:
    async def body() -> None:
        async with relay() as server:
            assert (await request(server, "GET /ping HTTP/1.1\nHost: x\n\n"))[0] == 200
            assert (await request(server, "GET / HTTP/1.1\nHost: x\n\n"))[2].startswith(b"This is an irosh relay")
            assert (await request(server, "GET /elsewhere HTTP/1.1\nHost: x\n\n"))[0] == 404
            assert (await request(server, "POST /ping HTTP/1.1\nHost: x\n\n"))[0] == 405
            status, header, page = await request(server, "HEAD /ping HTTP/1.1\nHost: x\n\n")
            assert (status, page) == (200, b"")
            assert "content-length: 5" in header

    run(body())


def test_health_is_json() -> None:
    async def body() -> None:
        async with relay() as server, joined(server, ALICE):
            status, header, page = await request(server, "GET /healthz?verbose HTTP/1.1\nHost: x\n\n")
            assert status == 200
            assert "content-type: application/json" in header
            health = json.loads(page)
            assert (health["status"], health["clients"]) == ("ok", 1)

    run(body())


@pytest.mark.parametrize(
    ("challenge", "answer"), [("ts_relay.example-1", "response ts_relay.example-1"), ("a b<script>", None), ("", None)]
)
def test_the_captive_portal_probe_gets_its_challenge_back(challenge: str, answer: str | None) -> None:
    async def body() -> None:
        async with relay() as server:
            head = f"GET /generate_204 HTTP/1.1\nHost: x\nX-Iroh-Challenge: {challenge}\n\n"
            status, header, page = await request(server, head)
            assert (status, page) == (204, b"")
            assert ("x-iroh-response" in header) == (answer is not None)
            assert answer is None or f"x-iroh-response: {answer}" in header

    run(body())


def test_metrics_are_prometheus_text() -> None:
    async def body() -> None:
        async with relay() as server, joined(server, ALICE) as alice, joined(server, BOB) as bob:
            await alice.send_to(BOB, b"x" * 100)
            await bob.receive()
            await alice.send_to(CAROL, b"lost")
            await alice.synchronise()
            status, header, page = await request(server, "GET /metrics HTTP/1.1\nHost: x\n\n")
            assert status == 200
            assert "content-type: text/plain; version=0.0.4" in header
            values = dict(re.findall(r"^(irosh_relay_\w+) ([0-9.e+]+)$", page.decode(), re.MULTILINE))
            assert float(values["irosh_relay_clients"]) == 2
            assert float(values["irosh_relay_frames_received_total"]) == 2
            assert float(values["irosh_relay_frames_forwarded_total"]) == 1
            assert float(values["irosh_relay_bytes_forwarded_total"]) == 134
            assert float(values["irosh_relay_dropped_unknown_total"]) == 1
            assert b"# TYPE irosh_relay_clients gauge" in page
            assert b"# TYPE irosh_relay_handshakes_total counter" in page
            assert server.counters.frames_forwarded_total == 1

    run(body())


def test_the_relay_path_is_for_relay_clients() -> None:
    async def body() -> None:
        async with relay() as server:
            assert (await request(server, "GET /relay HTTP/1.1\nHost: x\n\n"))[0] == 426
            with pytest.raises(InvalidStatus, match="400"):
                async with connected(server, version="chat"):
                    pass
            async with connected(server, version="iroh-relay-v1") as client:
                assert client.websocket.subprotocol == "iroh-relay-v1"

    run(body())


# --- admission


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


# --- forwarding


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


# --- limits


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


# --- starting and stopping


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


# --- TLS


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-made certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")])
    today = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def test_datagrams_pass_over_tls(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
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
    cert, key = certificate(tmp_path)
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
    cert, key = certificate(tmp_path)
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
    cert, key = certificate(tmp_path)
    if kind == "missing":
        key = tmp_path / "nothing.pem"
    elif kind == "garbage":
        cert.write_text("no certificate\n")
    else:
        (tmp_path / "other").mkdir()
        _, key = certificate(tmp_path / "other")

    async def body() -> None:
        with pytest.raises(IroshError) as caught:
            async with relay(tls_cert=cert, tls_key=key):
                pass
        assert caught.value.code is ErrorCode.INVALID_CONFIG

    run(body())


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
