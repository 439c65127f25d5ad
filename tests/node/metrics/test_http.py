"""The HTTP endpoint: serves one thing, and stands what is thrown at it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.metrics import http
from irosh.node.metrics.http import metrics_endpoint, parse_request

BODY = b"irosh_up 1.0\n"


@asynccontextmanager
async def endpoint(address: str = "0") -> AsyncIterator[tuple[str, int]]:
    async def render() -> bytes:
        return BODY

    async with asyncio.timeout(60), metrics_endpoint(address, render) as url:
        parts = urlsplit(url)
        assert parts.path == "/metrics"
        assert parts.hostname is not None and parts.port is not None
        yield parts.hostname, parts.port


async def exchange(address: tuple[str, int], request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(request)
        writer.write_eof()
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


def asked(line: str, host: str = "127.0.0.1:9464") -> bytes:
    return f"{line}\r\nHost: {host}\r\nUser-Agent: Prometheus/3\r\n\r\n".encode()


async def statuses(address: tuple[str, int], *requests: bytes) -> list[str]:
    answers = [await exchange(address, request) for request in requests]
    return [answer.split(b" ")[1].decode() if answer else "" for answer in answers]


def test_the_metrics_and_nothing_else() -> None:
    async def main() -> None:
        async with endpoint() as address:
            assert address[0] == "127.0.0.1"
            answer = await exchange(address, asked("GET /metrics HTTP/1.1"))
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n")
            assert f"Content-Length: {len(BODY)}".encode() in head
            assert body == BODY
            assert (await exchange(address, asked("HEAD /metrics HTTP/1.1"))).endswith(b"\r\n\r\n")
            assert await statuses(
                address,
                asked("GET /metrics?name=x HTTP/1.1"),
                asked("GET / HTTP/1.1"),
                asked("POST /metrics HTTP/1.1"),
                asked("GET /metrics HTTP/2"),
                b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
                b"GET /metrics HTTP/1.1\r\nbad line\r\n\r\n",
                b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
                b"",
            ) == ["200", "404", "405", "400", "400", "400", "400", "400"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:9464", "200"), ("[::1]:9464", "200"), ("127.0.0.1", "200"), ("evil.example:9464", "403")],
)
def test_no_foreign_name_leads_to_loopback(host: str, status: str) -> None:
    async def main() -> None:
        async with endpoint() as address:
            assert await statuses(address, asked("GET /metrics HTTP/1.1", host)) == [status]

    asyncio.run(main())


def test_elsewhere_any_name_does() -> None:
    async def main() -> None:
        async with endpoint("0.0.0.0:0") as (_, port):
            assert await statuses(("127.0.0.1", port), asked("GET /metrics HTTP/1.1", "box.example")) == ["200"]

    asyncio.run(main())


def test_silent_clients_are_dropped_and_others_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "DEADLINE", 0.3)

    async def main() -> None:
        async with endpoint() as address:
            silent = [await asyncio.open_connection(*address) for _ in range(http.MAX_CLIENTS + 5)]
            assert await statuses(address, asked("GET /metrics HTTP/1.1")) == ["200"]
            for reader, writer in silent:
                assert await reader.read() == b""
                writer.close()

    asyncio.run(main())


def test_a_fault_in_the_metrics_ends_one_answer_only() -> None:
    faults = iter([True, False])

    async def render() -> bytes:
        if next(faults):
            raise ValueError("a fault")
        return BODY

    async def main() -> None:
        async with asyncio.timeout(60), metrics_endpoint("127.0.0.1:0", render) as url:
            address = ("127.0.0.1", urlsplit(url).port or 0)
            assert await statuses(address, asked("GET /metrics HTTP/1.1"), asked("GET /metrics HTTP/1.1")) == [
                "500",
                "200",
            ]

    asyncio.run(main())


def test_addresses_that_cannot_be() -> None:
    async def start(address: str) -> ErrorCode:
        with pytest.raises(IroshError) as raised:
            async with endpoint(address):
                pass
        return raised.value.code

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert asyncio.run(start(str(port))) is ErrorCode.PORT_TAKEN
    for wrong in ("", ":", "127.0.0.1", "x y:1", "1.2.3.4:port", "99999", "::1:9464"):
        assert asyncio.run(start(wrong)) is ErrorCode.INVALID_ADDRESS, wrong
    assert asyncio.run(start("192.0.2.1:0")) is ErrorCode.BIND_FAILED


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: f"GET /{text} HTTP/1.1\r\n{text}".encode()))
def test_no_request_breaks_the_parser(head: bytes) -> None:
    parsed = parse_request(head)
    if parsed is not None:
        assert parsed.path.startswith("/")
