"""The embedded relay by HTTP: its pages, its metrics, and the way to the relay protocol."""

from __future__ import annotations

import json
import re

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.relay_client import ALICE, BOB, CAROL, connected, joined, relay, request, run


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
