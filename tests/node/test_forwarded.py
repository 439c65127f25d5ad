"""Remote forwards between a node and a peer that misbehaves: who may listen, and who may bring a connection back."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode
from irosh.core.identity import Identity
from irosh.services.tunnel.listening import MAX_LISTENERS
from irosh.services.tunnel.messages import ForwardedRequest, Listening, ListenRequest
from irosh.transport.framing import read_frame
from irosh.transport.interfaces import CarrierStream, Connection
from tests.support.admitted import admitted, ask, refusal
from tests.support.nodes import DEADLINE

TOKEN = bytes(16)
LOOPBACK = ["listen:tcp://127.0.0.1:*"]


async def listening(connection: Connection, *listens: str) -> tuple[CarrierStream, str]:
    """A stream for which the node listens, and where."""
    stream, error = await ask(connection, "listen", ListenRequest(list(listens or ["tcp://127.0.0.1:0"]), TOKEN))
    assert error is None
    (listen,) = (await read_frame(stream, Listening, deadline=DEADLINE)).listens
    return stream, listen


def bring(token: bytes) -> ForwardedRequest:
    return ForwardedRequest(token, "127.0.0.1:80", "127.0.0.1:5000")


def test_nobody_brings_what_was_not_asked_for(tmp_path: Path) -> None:
    async def body() -> None:
        # Not even a peer that may do everything here.
        async with admitted(tmp_path, ["all"]) as (node, connection, peer_id):
            authorizer = node.links.connections()[0].authorizer
            for token in (b"", TOKEN, bytes(1000)):
                assert await refusal(connection, "forwarded", bring(token)) is ErrorCode.DENIED
            with authorizer.promise(Identity.generate().id) as anothers:
                assert await refusal(connection, "forwarded", bring(anothers)) is ErrorCode.DENIED
            with authorizer.promise(peer_id) as token:
                _, error = await ask(connection, "forwarded", bring(token))
                assert error is not None
                assert error.message == "the forward has just ended", "the token is good, but belongs to no forward"
            _, error = await ask(connection, "forwarded", bring(token))
            assert error is not None
            assert error.message == "nobody here waits for such a connection", "it is forgotten with the forward"

    asyncio.run(body())


def test_tokens_are_not_logged(tmp_path: Path) -> None:
    async def body() -> None:
        async with admitted(tmp_path, []) as (node, connection, peer_id):
            with node.links.connections()[0].authorizer.promise(peer_id) as token:
                await ask(connection, "forwarded", bring(token))
                said = list(map(repr, node.trust.audit_log()))
        for text in [*said, repr(bring(token)), repr(ListenRequest(["tcp://127.0.0.1:0"], token))]:
            assert token.hex() not in text
            assert repr(token)[2:-1] not in text

    asyncio.run(body())


@pytest.mark.parametrize(
    "listens",
    [
        ["tcp://127.0.0.2:0"],
        ["tcp://0.0.0.0:0"],
        ["tcp://[::]:0"],
        ["tcp://[::1]:0"],
        ["unix:///tmp/irosh-test.sock"],
    ],
)
def test_where_the_policy_does_not_let_it_nothing_listens(tmp_path: Path, listens: list[str]) -> None:
    async def body() -> None:
        async with admitted(tmp_path, LOOPBACK) as (_, connection, _id):
            assert await refusal(connection, "listen", ListenRequest(listens, TOKEN)) is ErrorCode.DENIED

    asyncio.run(body())


def test_addresses_that_are_not_granted_are_left_out(tmp_path: Path) -> None:
    async def body() -> None:
        async with admitted(tmp_path, LOOPBACK) as (_, connection, _id):
            _stream, listen = await listening(connection, "tcp://127.0.0.1:0", "tcp://[::1]:0")
            assert listen.startswith("tcp://127.0.0.1:")

    asyncio.run(body())


@pytest.mark.parametrize("listens", [[], ["tcp://127.0.0.1:0"] * 3, ["udp://127.0.0.1:0"], ["nonsense"]])
def test_malformed_requests_are_refused(tmp_path: Path, listens: list[str]) -> None:
    async def body() -> None:
        async with admitted(tmp_path, ["all"]) as (_, connection, _id):
            code = await refusal(connection, "listen", ListenRequest(listens, TOKEN))
            assert code in (ErrorCode.PROTOCOL, ErrorCode.INVALID_ADDRESS)

    asyncio.run(body())


def test_a_listener_lives_as_long_as_its_stream(tmp_path: Path) -> None:
    async def body() -> None:
        async with admitted(tmp_path, LOOPBACK) as (_, connection, _id):
            stream, listen = await listening(connection)
            port = int(listen.rpartition(":")[2])
            await _connect(port)
            await stream.abort()
            while await _connect(port):
                await asyncio.sleep(0.05)

    asyncio.run(body())


def test_a_listener_ends_with_the_connection(tmp_path: Path) -> None:
    async def body() -> None:
        async with admitted(tmp_path, LOOPBACK) as (node, connection, _id):
            _stream, listen = await listening(connection)
            node.links.connections()[0].close()
            while await _connect(int(listen.rpartition(":")[2])):
                await asyncio.sleep(0.05)

    asyncio.run(body())


def test_a_peer_has_so_many_listeners_and_no_more(tmp_path: Path) -> None:
    async def body() -> None:
        async with admitted(tmp_path, LOOPBACK) as (_, connection, _id):
            kept = []
            for _ in range(MAX_LISTENERS):
                stream, error = await ask(connection, "listen", ListenRequest(["tcp://127.0.0.1:0"], TOKEN))
                assert error is None
                kept.append(stream)
            request = ListenRequest(["tcp://127.0.0.1:0"], TOKEN)
            assert await refusal(connection, "listen", request) is ErrorCode.BUSY
            await kept.pop().abort()
            while (await ask(connection, "listen", request))[1] is not None:
                await asyncio.sleep(0.05)

    asyncio.run(body())


def test_a_connection_that_the_peer_refuses_is_reset(tmp_path: Path) -> None:
    """The peer that asked does not even take the stream's header."""

    async def body() -> None:
        async with admitted(tmp_path, LOOPBACK) as (_, connection, _id):
            _stream, listen = await listening(connection)
            reader, writer = await asyncio.open_connection("127.0.0.1", int(listen.rpartition(":")[2]))
            brought = await connection.accept_stream()
            await brought.abort()
            with pytest.raises(ConnectionResetError):
                await reader.read(1)
            writer.close()

    asyncio.run(body())


async def _connect(port: int) -> bool:
    """Whether somebody listens at ``port``."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
        except ConnectionRefusedError:
            return False
        return True
