"""A session with several carriers between real endpoints: whichever of them come and go, no byte is wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from irosh.core.paths import Paths
from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import Stream, StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.lifetime import Credentials
from irosh.transport.session.multi_session import MultiSession
from tests.support.nodes import DEADLINE, CarrierEnd, bare_endpoint, connect_pair
from tests.support.session_ends import Ends, MiB, splice_both_ways, write_while_down

SETTINGS = SessionSettings()


class Pair(Ends[MultiSession]):
    """Two ends of a session with several carriers, and how these come and go."""

    async def renew(self) -> tuple[Carrier, Carrier]:
        """One more carrier for both."""
        near, far = await connect_pair(self.dialler, self.acceptor)
        ends = Carrier(near.connection, near.control, SETTINGS), Carrier(far.connection, far.control, SETTINGS)
        await self.far.join(ends[1])
        await self.near.join(ends[0])
        return ends

    def cut(self, index: int) -> None:
        """The near end loses a carrier; the far end notices."""
        list(self.near._dispatcher.loads)[index].connection.close(moved=True)

    def cut_all(self) -> None:
        for index in range(len(self.near._dispatcher.loads)):
            self.cut(index)


@asynccontextmanager
async def sessions(uses: Paths, carriers: int = 2) -> AsyncIterator[Pair]:
    async with bare_endpoint() as dialler, bare_endpoint() as acceptor, asyncio.timeout(DEADLINE):
        near, far = await connect_pair(dialler, acceptor)
        async with one_end(near, uses, dialed=True) as one, one_end(far, uses, dialed=False) as other:
            pair = Pair(dialler, acceptor, one, other)
            for _ in range(carriers - 1):
                await pair.renew()
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
            await pair.settled()
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
            await pair.settled()

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
                    await pair.renew()
            assert changes >= 6
            assert received == data
            await sending
            await stream.stop()
            await remote.finish()
            await pair.settled()

    asyncio.run(body())


def test_all_carriers_lost_and_renewed() -> None:
    async def body() -> None:
        async with sessions(Paths.ALL) as pair:
            await write_while_down(pair)

    asyncio.run(body())


def test_an_abort_arrives_whatever_happens() -> None:
    async def body() -> None:
        async with sessions(Paths.ALL) as pair:
            stream = await pair.near.open_stream()
            await stream.write(b"x")
            remote = await pair.far.accept_stream()
            assert await remote.read_exactly(1) == b"x"
            await stream.abort(7)
            await pair.lose()
            await pair.renew()
            with pytest.raises(StreamReset):
                await remote.read()
            with pytest.raises(StreamReset):
                await remote.write(b"y")
            await pair.settled()

    asyncio.run(body())


@both
def test_spliced_sockets(uses: Paths) -> None:
    async def body() -> None:
        async with sessions(uses) as pair:
            await splice_both_ways(pair)

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
