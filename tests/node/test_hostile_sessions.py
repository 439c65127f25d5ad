"""Nothing a peer says on the streams of its session harms the host or others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode
from irosh.core.wire import Hello, encode_frame
from irosh.transport.interfaces import CarrierStream, StreamReset
from irosh.transport.session.frames import Acks, StartKind, StreamStart
from tests.support.echo_server import echo_server
from tests.support.peer_by_hand import MiB, Peer, claim, echoes, host, peer_of


@asynccontextmanager
async def friend_and_mallory(tmp_path: Path) -> AsyncIterator[tuple[Peer, Peer, int]]:
    """A peer of a host that is to be undisturbed, one that means harm, and the port of an echo server."""
    async with (
        host(tmp_path) as node,
        peer_of(node, "friend") as friend,
        peer_of(node, "mallory") as mallory,
        echo_server() as port,
    ):
        yield friend, mallory, port


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00",
        b"\xff\xff" + b"x" * 70_000,
        b"\x00\x03\xc1\xc1\xc1",
        b"\x00\x02\x91\x63",
        encode_frame(Hello(1)),
        encode_frame(Acks([(0, 1)])),  # as ours is not open this is ignored; the next is not
    ],
)
def test_garbage_on_the_control_stream_ends_that_session_alone(tmp_path: Path, garbage: bytes) -> None:
    async def body() -> None:
        async with friend_and_mallory(tmp_path) as (friend, mallory, port):
            good, _ = await friend.enter()
            stream = await good.open_tunnel(port, 0)
            bad, _ = await mallory.enter()
            await bad.open_tunnel(port, 0)
            await bad.control.write(garbage + encode_frame(Acks([(0, 1 << 61)])))
            assert await bad.refusal() is ErrorCode.PROTOCOL
            await mallory.sessions(lambda live, waiting: live == 0)
            await echoes(stream)

    asyncio.run(body())


@pytest.mark.parametrize("number", [0, 1, 1 << 63, (1 << 64) - 1])
def test_a_stream_number_that_was_used_or_is_the_hosts_is_refused(tmp_path: Path, number: int) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "mallory") as mallory, echo_server() as port:
            visit, _ = await mallory.enter()
            stream = await visit.open_tunnel(port, 0)
            await echoes(stream)
            if number < 1 << 63 or number % 2:
                with pytest.raises(StreamReset):
                    await visit.open_tunnel(port, number)
            else:
                await echoes(await visit.open_tunnel(port, number))
            await echoes(stream)

    asyncio.run(body())


def test_ten_thousand_half_started_streams_do_not_disturb_others(tmp_path: Path) -> None:
    async def body() -> None:
        async with friend_and_mallory(tmp_path) as (friend, mallory, port):
            bad, _ = await mallory.enter()
            begun: list[CarrierStream] = []

            async def flood() -> None:
                for number in range(10_000):
                    stream = await bad.connection.open_stream()
                    await stream.write(StreamStart(StartKind.FRESH, number * 2).pack()[:-1])
                    begun.append(stream)

            flooding = asyncio.create_task(flood())
            good, _ = await friend.enter()
            while len(begun) < 5000:
                await asyncio.sleep(0.01)
            for number in range(10):
                stream = await good.open_tunnel(port, number * 2)
                await echoes(stream)
                await stream.finish()
            (session,) = (connection.session for connection in mallory.host.links.connections(mallory.endpoint.id))
            assert not session.streams()  # type: ignore[attr-defined]
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)

    asyncio.run(body())


def test_resuming_without_end_costs_nobody_anything(tmp_path: Path) -> None:
    async def body() -> None:
        async with friend_and_mallory(tmp_path) as (friend, mallory, port):
            good, _ = await friend.enter()
            stream = await good.open_tunnel(port, 0)
            visit, welcome = await mallory.enter()
            await echoes(await visit.open_tunnel(port, 0))
            before = len(asyncio.all_tasks())
            visits = [visit]  # one that is forgotten is closed for good
            for _ in range(60):
                visits.append(await mallory.visit(claim(welcome)))
                await visits[-1].welcome()
            await echoes(stream)
            _, answer = await visits[-1].resume_stream(0, 0)
            assert answer.known
            await mallory.sessions(lambda live, waiting: (live, waiting) == (1, 0))
            while len(asyncio.all_tasks()) > before + 5:
                await asyncio.sleep(0.01)

    asyncio.run(body())


def test_a_peer_that_acknowledges_nothing_holds_the_sender_back(tmp_path: Path) -> None:
    async def body() -> None:
        async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    writer.write(bytes(65536))
                    await writer.drain()
            except OSError:
                writer.close()

        server = await asyncio.start_server(pour, "127.0.0.1", 0)
        async with (
            host(tmp_path, '[session]\nreplay_buffer = "1MiB"\n') as node,
            peer_of(node, "mallory") as mallory,
            server,
        ):
            visit, _ = await mallory.enter()
            stream = await visit.open_tunnel(server.sockets[0].getsockname()[1], 0)
            got = 0
            with pytest.raises(TimeoutError):
                while True:
                    async with asyncio.timeout(1):
                        got += len(await stream.read(MiB))
            assert MiB <= got < 2 * MiB
            (session,) = (connection.session for connection in node.links.connections())
            assert session._budget.used < 2 * MiB
            visit.connection.close(moved=True)
            await mallory.sessions(lambda live, waiting: waiting == 1)
            assert session._budget.used < 2 * MiB
            kept = session._budget.used
            other, _ = await mallory.enter()
            await other.open_tunnel(server.sockets[0].getsockname()[1], 0)
            while session._budget.used <= kept:  # what all sessions of one peer keep counts together
                await asyncio.sleep(0.01)
            for connection in node.links.connections():
                connection.session.close()

    asyncio.run(body())
