"""A session between real endpoints goes on over its next connection: no byte lost, doubled or reordered."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import ConnectionLost, SpliceCounters, StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.lifetime import LinkEvent
from irosh.transport.session.session import Session
from irosh.transport.session.stream import SessionStream
from tests.support.nodes import DEADLINE, bare_endpoint, connect_pair, session_of
from tests.support.session_ends import Ends, MiB, splice_both_ways, write_while_down


class Pair(Ends[Session]):
    """Two ends of a session with one carrier at a time."""

    def cut_all(self) -> None:
        for session in (self.near, self.far):
            carrier = session._carrier
            assert carrier is not None
            carrier.connection.close(moved=True)

    async def renew(self) -> None:
        near, far = await connect_pair(self.dialler, self.acceptor)
        settings = SessionSettings()
        await self.far.attach(Carrier(far.connection, far.control, settings))
        await self.near.attach(Carrier(near.connection, near.control, settings))

    async def interrupt(self) -> None:
        """Lose the connection, and get another."""
        await self.lose()
        await self.renew()

    async def opened(self) -> tuple[SessionStream, SessionStream]:
        """Both ends of a stream that the near end has opened, and the far end has accepted."""
        ours = await self.near.open_stream()
        await ours.write(b"x")
        theirs = await self.far.accept_stream()
        assert await theirs.read_exactly(1) == b"x"
        return ours, theirs


@asynccontextmanager
async def sessions(settings: SessionSettings | None = None) -> AsyncIterator[Pair]:
    async with bare_endpoint() as dialler, bare_endpoint() as acceptor, asyncio.timeout(DEADLINE):
        near, far = await connect_pair(dialler, acceptor)
        async with session_of(near, settings, dialed=True) as one, session_of(far, settings, dialed=False) as other:
            yield Pair(dialler, acceptor, one, other)


def test_a_transfer_goes_on_after_every_cut() -> None:
    async def body() -> None:
        data = os.urandom(24 * MiB)
        async with sessions() as pair:
            stream = await pair.near.open_stream()

            async def send() -> None:
                for start in range(0, len(data), 300_000):
                    await stream.write(data[start : start + 300_000])
                await stream.finish()

            sending = asyncio.create_task(send())
            remote = await pair.far.accept_stream()
            received = bytearray()
            cuts = 0
            while chunk := await remote.read(MiB):
                received += chunk
                if len(received) > (cuts + 1) * 5 * MiB:
                    cuts += 1
                    await pair.interrupt()
            await sending
            assert cuts == 4
            assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()
            assert pair.near.reconnects == pair.far.reconnects == 4
            await remote.finish()
            assert await stream.read() == b""
            await pair.settled()

    asyncio.run(body())


def test_what_is_moved_counts_over_all_connections_and_streams_once_they_are_forgotten() -> None:
    async def body() -> None:
        async with sessions() as pair:
            forgotten: list[tuple[int, int]] = []
            pair.near.on_forgotten = lambda stream: forgotten.append((stream.log.end, stream.received))
            stream = await pair.near.open_stream()
            await stream.write(bytes(MiB))
            remote = await pair.far.accept_stream()
            assert pair.near.holds(stream)
            await remote.read_exactly(MiB)
            first = pair.near.traffic()
            assert first.bytes_sent > MiB
            await pair.lose()
            assert pair.near.traffic().bytes_sent >= first.bytes_sent
            await pair.renew()
            await stream.write(bytes(MiB))
            await stream.finish()
            await remote.write(b"thanks")
            await remote.finish()
            assert await stream.read() == b"thanks"
            assert await stream.read() == b""
            while await remote.read(MiB):
                pass
            await pair.settled()
            assert forgotten == [(2 * MiB, 6)]
            assert not pair.near.holds(stream)
            assert pair.near.traffic().bytes_sent > 2 * MiB
            assert pair.far.traffic().bytes_received > 2 * MiB
        assert pair.near.traffic().bytes_sent > 2 * MiB, "known once the session has ended, too"

    asyncio.run(body())


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_streams_that_are_not_read_to_the_end_are_forgotten(ending: str) -> None:
    async def body() -> None:
        async with sessions() as pair:
            stream = await pair.near.open_stream()
            await stream.write(b"question")
            remote = await pair.far.accept_stream()
            await remote.read_exactly(8)
            await remote.write(b"answer")
            await remote.finish()
            await stream.read_exactly(6)
            await stream.finish()
            # Neither has read that the other has finished.
            await (stream.close() if ending == "close" else stream.abort())
            await remote.close()
            await pair.settled()

    asyncio.run(body())


def test_spliced_sockets_do_not_notice() -> None:
    async def body() -> None:
        async with sessions() as pair:

            async def disturb() -> None:
                for _ in range(5):
                    await pair.interrupt()
                    await asyncio.sleep(0.02)  # let it carry something

            await splice_both_ways(pair, disturb())

    asyncio.run(body())


def test_what_is_written_while_down_arrives_afterwards() -> None:
    async def body() -> None:
        async with sessions() as pair:
            await write_while_down(pair)

    asyncio.run(body())


def test_a_stream_that_the_peer_never_heard_of_begins_after_the_cut() -> None:
    async def body() -> None:
        async with sessions() as pair:
            stream = await pair.near.open_stream()
            pair.cut_all()
            await stream.write(b"hello")
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
            await pair.renew()
            remote = await pair.far.accept_stream()
            assert await remote.read_exactly(5) == b"hello"

    asyncio.run(body())


def test_a_stream_aborted_while_down_ends_at_the_peer_too() -> None:
    async def body() -> None:
        async with sessions() as pair:
            ours, theirs = await pair.opened()
            await pair.lose()
            await ours.abort()
            await pair.renew()
            with pytest.raises(StreamReset):
                await theirs.read()
            await pair.settled()

    asyncio.run(body())


def test_a_stream_aborted_by_the_acceptor_while_down_ends_at_the_opener() -> None:
    async def body() -> None:
        async with sessions() as pair:
            ours, theirs = await pair.opened()
            await pair.lose()
            await theirs.abort()
            await pair.renew()
            with pytest.raises(StreamReset):
                await ours.read()
            await pair.settled()

    asyncio.run(body())


def test_a_full_replay_buffer_holds_the_writer_back() -> None:
    settings = SessionSettings(replay_buffer=1 * MiB)

    async def body() -> None:
        async with sessions(settings) as pair:
            stream, remote = await pair.opened()
            await pair.lose()
            data = os.urandom(3 * MiB)
            writing = asyncio.create_task(stream.write(data))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await asyncio.shield(writing)
            assert stream.log.kept < 2 * MiB
            await pair.renew()
            assert await remote.read_exactly(len(data)) == data
            await writing

    asyncio.run(body())


def test_without_a_new_connection_the_session_ends() -> None:
    settings = SessionSettings(resume_for=0.2)

    async def body() -> None:
        async with sessions(settings) as pair:
            events: list[LinkEvent] = []
            stream = await pair.near.open_stream()
            with pair.near.watched(events.append):
                pair.cut_all()
                with pytest.raises(ConnectionLost) as lost:
                    await stream.read()
            assert "was not back" in lost.value.message
            assert [event.name for event in events] == ["lost"]
            assert pair.near.is_closed

    asyncio.run(body())


def test_a_silent_peer_is_given_up() -> None:
    settings = SessionSettings(keepalive=0.1, dead_after=0.3, resume_for=5)

    async def body() -> None:
        async with bare_endpoint() as dialler, bare_endpoint() as acceptor, asyncio.timeout(DEADLINE):
            near, _far = await connect_pair(dialler, acceptor)  # the far end never answers
            async with session_of(near, settings, dialed=True) as session:
                reason = await session.wait_down()
                assert "no sign of life" in reason.message

    asyncio.run(body())


@pytest.mark.parametrize("ending", ["abort", "close"])
def test_ending_a_stream_does_not_wait_for_what_is_sent_again(ending: str) -> None:
    async def body() -> None:
        async with sessions() as pair:
            stream, remote = await pair.opened()
            await pair.lose()
            data = os.urandom(12 * MiB)  # more than the connection takes before it is read
            await stream.write(data)
            await pair.renew()
            while not remote.is_attached:
                await asyncio.sleep(0.01)
            async with asyncio.timeout(10):
                await (stream.abort(7) if ending == "abort" else stream.close())
            if ending == "abort":
                with pytest.raises(StreamReset):
                    while await remote.read(MiB):
                        pass
            else:
                assert await remote.read_exactly(len(data)) == data
                assert await remote.read() == b""
            await remote.close()
            await pair.settled()

    asyncio.run(body())


def test_a_write_that_was_cancelled_half_way_does_not_look_whole() -> None:
    async def body() -> None:
        async with sessions() as pair:
            stream = await pair.near.open_stream()
            writing = asyncio.create_task(stream.write(os.urandom(40 * MiB)))
            remote = await pair.far.accept_stream()
            await remote.read_exactly(1)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await stream.close()
            with pytest.raises(StreamReset):
                while await remote.read(MiB):
                    pass
            await remote.close()
            await pair.settled()

    asyncio.run(body())


def test_a_splice_ends_when_the_peer_has_ended_the_stream_while_down() -> None:
    async def body() -> None:
        async with sessions() as pair:
            ours, end = socket.socketpair()
            stream, remote = await pair.opened()
            await remote.finish()
            splicing = asyncio.create_task(stream.splice(end, SpliceCounters()))
            ours.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(ours, 1) == b""  # the end has been passed on
            await pair.lose()
            await remote.abort()
            await pair.renew()
            await splicing
            ours.close()
            await pair.settled()

    asyncio.run(body())
