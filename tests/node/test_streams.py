"""Streams of an admitted peer: headers, authorization, and what a hostile peer may try."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.wire import Hello, StreamAnswer, StreamHeader, encode_frame, encode_request
from irosh.node.node import Node, Reached
from irosh.node.peer_admin import PeerAdmin
from irosh.node.target_request import TargetRequest
from irosh.services.shell.messages import ShellRequest
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.framing import read_frame
from irosh.transport.interfaces import CarrierStream, Connection, ConnectionLost, StreamReset
from tests.support.admitted import admitted, ask, refusal, welcomed
from tests.support.echo_server import echo_server
from tests.support.nodes import DEADLINE, bare_endpoint, open_foreign_stream, pin, running_node


async def echoes(connection: Connection, port: int) -> CarrierStream:
    """A new tunnel to the echo server at ``port`` carries bytes both ways."""
    stream, error = await ask(connection, "tunnel", TunnelRequest(f"tcp://127.0.0.1:{port}"))
    assert error is None
    await stream.write(b"ping")
    assert await stream.read_exactly(4) == b"ping"
    return stream


@asynccontextmanager
async def hostile_beside_friend(
    tmp_path: Path,
) -> AsyncIterator[tuple[Connection, Callable[[], Awaitable[Connection]], int]]:
    """The connection of a hostile peer, how a friend of the same host connects, and the port of an echo server."""
    friend = Identity.generate()

    async def befriend() -> Connection:
        connection, _ = await welcomed(endpoint, host)
        return connection

    async with (
        admitted(tmp_path, ["forward:tcp://127.0.0.1:*"]) as (host, hostile, _),
        bare_endpoint(friend) as endpoint,
        echo_server() as port,
    ):
        pin(host, friend, "friend", ["forward:tcp://127.0.0.1:*"])
        yield hostile, befriend, port


@asynccontextmanager
async def invited(tmp_path: Path) -> AsyncIterator[tuple[Node, Node, Reached]]:
    """A host, a node that it has invited to everything, and the host as that node has reached it."""
    async with (
        running_node(tmp_path / "host") as host,
        running_node(tmp_path / "client", hosting=False) as client,
        asyncio.timeout(DEADLINE),
    ):
        invite = host.trust.create_invite(parse_capabilities(["all"]))
        yield host, client, await client.reach(TargetRequest(target=host.ticket(invite).encode()))


def test_nothing_is_allowed_by_default(tmp_path: Path) -> None:
    async def body() -> None:
        async with admitted(tmp_path, []) as (host, connection, _):
            assert await refusal(connection, "shell", ShellRequest()) is ErrorCode.DENIED
            assert await refusal(connection, "tunnel", TunnelRequest("tcp://127.0.0.1:22")) is ErrorCode.DENIED
            assert await refusal(connection, "tunnel", TunnelRequest("unix:///run/x.sock")) is ErrorCode.DENIED
            refused = [entry for entry in host.trust.audit_log() if entry.outcome == "refused"]
            assert len(refused) == 3

    asyncio.run(body())


@pytest.mark.parametrize(
    "source",
    [
        "tcp://[::ffff:127.0.0.1]:{port}",
        "tcp://localhost:{port}",
        "tcp://0.0.0.0:{port}",
        "tcp://[::]:{port}",
        "tcp://127.0.0.1:{port}",
        "tcp://127.1.2.3:{port}",
        "udp://10.0.0.1:{port}",
    ],
)
def test_loopback_is_not_reached_by_any_spelling_outside_the_policy(tmp_path: Path, source: str) -> None:
    async def body() -> None:
        async with admitted(tmp_path, ["forward:tcp://10.0.0.0/8:*"]) as (_, connection, _), echo_server() as port:
            code = await refusal(connection, "tunnel", TunnelRequest(source.format(port=port), flow=0))
            assert code is ErrorCode.DENIED

    asyncio.run(body())


def test_capabilities_changed_while_connected_hold_at_once(tmp_path: Path) -> None:
    async def body() -> None:
        async with admitted(tmp_path, []) as (host, connection, peer_id), echo_server() as port:
            request = TunnelRequest(f"tcp://127.0.0.1:{port}")
            assert await refusal(connection, "tunnel", request) is ErrorCode.DENIED
            host.trust.set_capabilities(peer_id, parse_capabilities([f"forward:tcp://127.0.0.1:{port}"]))
            await echoes(connection, port)
            host.trust.set_capabilities(peer_id, ())
            assert await refusal(connection, "tunnel", request) is ErrorCode.DENIED

    asyncio.run(body())


def test_a_target_that_is_down_is_told_apart_from_one_not_allowed(tmp_path: Path) -> None:
    async def body() -> None:
        async with admitted(tmp_path, ["forward:tcp://127.0.0.1:*", "forward:unix:///**"]) as (_, connection, _):
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                port = unused.getsockname()[1]
                code = await refusal(connection, "tunnel", TunnelRequest(f"tcp://127.0.0.1:{port}"))
            assert code is ErrorCode.TARGET_REFUSED
            code = await refusal(connection, "tunnel", TunnelRequest(f"unix://{tmp_path}/none.sock"))
            assert code is ErrorCode.TARGET_REFUSED

    asyncio.run(body())


def test_a_symbolic_link_does_not_lead_out_of_the_policy(tmp_path: Path) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    allowed.mkdir()
    secret.mkdir()
    (allowed / "link.sock").symlink_to(secret / "real.sock")

    async def body() -> None:
        async with admitted(tmp_path, [f"forward:unix://{allowed}/*.sock"]) as (_, connection, _):
            code = await refusal(connection, "tunnel", TunnelRequest(f"unix://{allowed}/link.sock"))
            assert code is ErrorCode.DENIED

    asyncio.run(body())


@pytest.mark.parametrize(
    "first_bytes",
    [
        b"\x00\x00",
        b"\xff\xff" + b"y" * 70_000,
        b"\x00\x03\xc1\xc1\xc1",
        encode_frame(Hello(1)),
        encode_frame(StreamHeader("tunnel", msgspec.Raw(b"\xc0"))),
        encode_frame(StreamHeader("tunnel", encode_request(Hello(1)))),
        encode_frame(StreamHeader("tunnel", encode_request(TunnelRequest("tcp://")))),
        encode_frame(StreamHeader("no such service", encode_request(Hello(1)))),
    ],
)
def test_a_malformed_stream_is_refused_and_the_connection_goes_on(tmp_path: Path, first_bytes: bytes) -> None:
    async def body() -> None:
        async with admitted(tmp_path, ["forward:tcp://127.0.0.1:*"]) as (_, connection, _), echo_server() as port:
            bad = await open_foreign_stream(connection)
            try:
                await bad.write(first_bytes)
                answer = await read_frame(bad, StreamAnswer, deadline=DEADLINE)
                assert answer.error is not None
            except StreamReset:
                pass
            await echoes(connection, port)

    asyncio.run(body())


def test_garbage_without_end_closes_the_connection_but_nobody_elses(tmp_path: Path) -> None:
    async def body() -> None:
        async with hostile_beside_friend(tmp_path) as (hostile, befriend, port):
            friend = await befriend()
            good = await echoes(friend, port)
            with pytest.raises((ConnectionLost, StreamReset)):
                for _ in range(10_000):
                    stream = await open_foreign_stream(hostile)
                    await stream.write(b"\x00\x05\xc1\xc1\xc1\xc1\xc1")
                    await stream.finish()
            reason = await hostile.wait_closed()
            assert reason.code is ErrorCode.PROTOCOL
            await good.write(b"undisturbed")
            assert await good.read_exactly(11) == b"undisturbed"

    asyncio.run(body())


def test_ten_thousand_unfinished_streams_do_not_disturb_other_peers(tmp_path: Path) -> None:
    async def body() -> None:
        async with hostile_beside_friend(tmp_path) as (hostile, befriend, port):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

            async def flood() -> None:
                for _ in range(10_000):
                    stream = await open_foreign_stream(hostile)
                    await stream.write(b"\x00")  # half a length, and never more

            flooding = asyncio.create_task(flood())
            friend = await befriend()
            for _ in range(20):
                await (await echoes(friend, port)).finish()
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            assert grown < 200_000, f"memory grew by {grown} kB"  # both ends live in this process

    asyncio.run(body())


def test_an_unfinished_header_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("irosh.node.peer_connection.HEADER_DEADLINE", 1.0)

    async def body() -> None:
        async with admitted(tmp_path, []) as (_, connection, _):
            stream = await open_foreign_stream(connection)
            await stream.write(b"\x00")
            answer = await read_frame(stream, StreamAnswer, deadline=DEADLINE)
            assert answer.error is not None
            assert answer.error.code == ErrorCode.TIMEOUT

    asyncio.run(body())


def test_a_client_node_serves_nothing_to_the_host_it_dialled(tmp_path: Path) -> None:
    async def body() -> None:
        async with invited(tmp_path) as (host, client, reached):
            assert reached.newly_pinned
            back = host.links.connections(client.identity.id)[0]
            opened = await back.open("shell", ShellRequest())
            with pytest.raises(IroshError) as error:
                await opened.answer()
            assert error.value.code is ErrorCode.DENIED

    asyncio.run(body())


def test_revoking_closes_the_live_connection(tmp_path: Path) -> None:
    async def body() -> None:
        async with invited(tmp_path) as (host, client, reached):
            name = host.trust.peers()[0].petname
            result = PeerAdmin(host.trust, host.links.close_peer).run("revoke", {"name": name})
            assert result["connections_closed"] == 1
            reason = await reached.connection.session.wait_closed()
            assert reason.code is ErrorCode.REVOKED
            with pytest.raises(IroshError) as error:
                again = await client.reach(TargetRequest(target=reached.peer.petname))
                await (await again.connection.open("shell", ShellRequest())).answer()
            assert error.value.code is ErrorCode.REVOKED

    asyncio.run(body())
