"""A session with several carriers between real endpoints: whichever of them come and go, no byte is wrong."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from irosh.core.paths import Paths
from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import SpliceCounters, Stream, StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.multi_session import MultiSession
from irosh.transport.session.session import Credentials
from irosh.transport.wheel import WheelEndpoint
from tests.support.nodes import DEADLINE, CarrierEnd, bare_endpoint, connect_pair

MiB = 1024 * 1024
SETTINGS = SessionSettings()


@dataclass
class Pair:
    """Two ends of a session, and how its carriers come and go."""

    dialler: WheelEndpoint
    acceptor: WheelEndpoint
    near: MultiSession
    far: MultiSession

    async def add(self) -> tuple[Carrier, Carrier]:
        """One more carrier for both."""
        near, far = await connect_pair(self.dialler, self.acceptor)
        ends = Carrier(near.connection, near.control, SETTINGS), Carrier(far.connection, far.control, SETTINGS)
        await self.far.join(ends[1])
        await self.near.join(ends[0])
        return ends

    def cut(self, index: int) -> None:
        """The near end loses a carrier; the far end notices."""
        list(self.near._dispatcher.loads)[index].connection.close(moved=True)


@asynccontextmanager
async def sessions(uses: Paths, carriers: int = 2) -> AsyncIterator[Pair]:
    async with bare_endpoint() as dialler, bare_endpoint() as acceptor, asyncio.timeout(DEADLINE):
        near, far = await connect_pair(dialler, acceptor)
        async with one_end(near, uses, dialed=True) as one, one_end(far, uses, dialed=False) as other:
            pair = Pair(dialler, acceptor, one, other)
            for _ in range(carriers - 1):
                await pair.add()
            yield pair


@asynccontextmanager
async def one_end(end: CarrierEnd, uses: Paths, *, dialed: bool) -> AsyncIterator[MultiSession]:
    session = MultiSession(Carrier(end.connection, end.control, SETTINGS), SETTINGS, dialed=dialed, uses=uses)
    session.established(Credentials(b"s", b"t"), resume_for=60, replay_buffer=SETTINGS.replay_buffer)
    session.allow_streams(1000, window=64 * MiB)
    running = asyncio.create_task(session.run())
    await asyncio.sleep(0)
    try:
        yield session
    finally:
        session.close()
        await running


async def settled(pair: Pair) -> None:
    """Both ends have forgotten their streams."""
    while pair.near.streams() or pair.far.streams():
        await asyncio.sleep(0.01)


async def receive(stream: Stream) -> bytes:
    received = bytearray()
    while chunk := await stream.read(MiB):
        received += chunk
    return bytes(received)


both = pytest.mark.parametrize("uses", [Paths.ALL, Paths.REDUNDANT])


@both
def test_what_is_moved_counts_over_all_carriers(uses: Paths) -> None:
    async def body() -> None:
        async with sessions(uses) as pair:
            forgotten: list[tuple[int, int]] = []
            pair.near.on_forgotten = lambda stream: forgotten.append((stream.log.end, stream.received))
            stream = await pair.near.open_stream()
            await stream.write(bytes(MiB))
            remote = await pair.far.accept_stream()
            await remote.read_exactly(MiB)
            before = pair.near.traffic()
            assert before.bytes_sent > MiB
            pair.cut(0)
            while len(pair.near.carriers()) > 1:
                await asyncio.sleep(0.01)
            assert pair.near.traffic().bytes_sent >= before.bytes_sent
            assert pair.near.holds(stream)
            await stream.finish()
            await remote.finish()
            assert await receive(remote) == await receive(stream) == b""
            await settled(pair)
            assert forgotten == [(MiB, 0)]
            assert not pair.near.holds(stream)
        assert pair.far.traffic().bytes_received > MiB

    asyncio.run(body())


@both
def test_a_transfer_both_ways(uses: Paths) -> None:
    async def body() -> None:
        data, answer = os.urandom(24 * MiB), os.urandom(8 * MiB)
        async with sessions(uses) as pair:
            stream = await pair.near.open_stream()

            async def send(to: Stream, what: bytes) -> None:
                for start in range(0, len(what), 300_000):
                    await to.write(what[start : start + 300_000])
                await to.finish()

            sending = asyncio.create_task(send(stream, data))
            remote = await pair.far.accept_stream()
            answering = asyncio.create_task(send(remote, answer))
            assert await receive(remote) == data
            assert await receive(stream) == answer
            await asyncio.gather(sending, answering)
            await settled(pair)

    asyncio.run(body())


@both
def test_carriers_come_and_go_during_a_transfer(uses: Paths) -> None:
    async def body() -> None:
        data = os.urandom(32 * MiB)
        async with sessions(uses) as pair:
            stream = await pair.near.open_stream()

            async def send() -> None:
                await stream.write(data)
                await stream.finish()

            sending = asyncio.create_task(send())
            remote = await pair.far.accept_stream()
            received = bytearray()
            changes = 0
            while chunk := await remote.read(MiB):
                received += chunk
                if len(received) > (changes + 1) * 4 * MiB:
                    changes += 1
                    pair.cut(changes % len(pair.near._dispatcher.loads))
                    await pair.add()
            assert changes >= 6
            assert received == data
            await sending
            await stream.stop()
            await remote.finish()
            await settled(pair)

    asyncio.run(body())


def test_all_carriers_lost_and_renewed() -> None:
    async def body() -> None:
        async with sessions(Paths.ALL) as pair:
            stream = await pair.near.open_stream()
            await stream.write(b"before ")
            remote = await pair.far.accept_stream()
            assert await remote.read_exactly(7) == b"before "
            pair.cut(0)
            pair.cut(1)
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
            await stream.write(b"meanwhile ")
            await remote.write(b"answer")
            await remote.finish()
            await pair.add()
            await stream.write(b"after")
            await stream.finish()
            assert await remote.read_exactly(15) == b"meanwhile after"
            assert await remote.read() == b""
            assert await stream.read_exactly(6) == b"answer"
            assert await stream.read() == b""
            await settled(pair)

    asyncio.run(body())


def test_an_abort_arrives_whatever_happens() -> None:
    async def body() -> None:
        async with sessions(Paths.ALL) as pair:
            stream = await pair.near.open_stream()
            await stream.write(b"x")
            remote = await pair.far.accept_stream()
            assert await remote.read_exactly(1) == b"x"
            await stream.abort(7)
            pair.cut(0)
            pair.cut(1)
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
            await pair.add()
            with pytest.raises(StreamReset):
                await remote.read()
            with pytest.raises(StreamReset):
                await remote.write(b"y")
            await settled(pair)

    asyncio.run(body())


@both
def test_spliced_sockets(uses: Paths) -> None:
    async def body() -> None:
        async with sessions(uses) as pair:
            near_socket, near_end = socket.socketpair()
            far_socket, far_end = socket.socketpair()
            stream = await pair.near.open_stream()
            await stream.write(b"!")
            remote = await pair.far.accept_stream()
            assert await remote.read_exactly(1) == b"!"
            copying = [
                asyncio.create_task(stream.splice(near_end, SpliceCounters())),
                asyncio.create_task(remote.splice(far_end, SpliceCounters())),
            ]
            loop = asyncio.get_running_loop()
            near_socket.setblocking(False)
            far_socket.setblocking(False)
            data = os.urandom(12 * MiB)

            async def from_socket(sock: socket.socket) -> bytes:
                received = bytearray()
                while chunk := await loop.sock_recv(sock, 65536):
                    received += chunk
                return bytes(received)

            async def send(sock: socket.socket) -> None:
                await loop.sock_sendall(sock, data)
                sock.shutdown(socket.SHUT_WR)

            _, _, one, other = await asyncio.gather(
                send(near_socket), send(far_socket), from_socket(near_socket), from_socket(far_socket)
            )
            assert one == data
            assert other == data
            await asyncio.gather(*copying)
            await settled(pair)

    asyncio.run(body())


def test_datagrams_of_both_carriers_count_once() -> None:
    async def body() -> None:
        async with sessions(Paths.REDUNDANT) as pair:
            got: list[bytes] = []
            pair.far.on_datagram = got.append
            sent = [b"%d" % number for number in range(100)]
            for each in sent:
                assert pair.near.send_datagram(each)
                await asyncio.sleep(0.001)
            while len(got) < len(sent):
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            assert sorted(got) == sorted(sent)

    asyncio.run(body())
