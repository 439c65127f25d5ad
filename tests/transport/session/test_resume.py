"""A session between real endpoints goes on over its next connection: no byte lost, doubled or reordered."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import ConnectionLost, SpliceCounters, StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.session import LinkEvent, Session
from irosh.transport.wheel import WheelEndpoint
from tests.support.nodes import DEADLINE, bare_endpoint, connect_pair, session_of

MiB = 1024 * 1024


@dataclass
class Pair:
    """Two ends of a session, and how to cut and renew what carries it."""

    dialler: WheelEndpoint
    acceptor: WheelEndpoint
    near: Session
    far: Session

    def cut(self) -> None:
        """Both ends lose their connection."""
        for session in (self.near, self.far):
            carrier = session._carrier
            assert carrier is not None
            carrier.connection.close(moved=True)

    async def renew(self) -> None:
        """A new connection for both."""
        near, far = await connect_pair(self.dialler, self.acceptor)
        settings = SessionSettings()
        await self.far.attach(Carrier(far.connection, far.control, settings))
        await self.near.attach(Carrier(near.connection, near.control, settings))

    async def interrupt(self) -> None:
        """Cut, wait until both ends know, renew."""
        self.cut()
        await asyncio.gather(self.near.wait_down(), self.far.wait_down())
        await self.renew()


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
            await settled(pair)

    asyncio.run(body())


async def settled(pair: Pair) -> None:
    """Both ends have forgotten their streams: acknowledged to the end."""
    while pair.near.streams() or pair.far.streams():
        await asyncio.sleep(0.01)


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
            pair.cut()
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
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
            await settled(pair)
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
            await settled(pair)

    asyncio.run(body())


def test_spliced_sockets_do_not_notice(tmp_path: object) -> None:
    async def body() -> None:
        async with sessions() as pair:
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

            async def receive(sock: socket.socket) -> bytes:
                received = bytearray()
                while chunk := await loop.sock_recv(sock, 65536):
                    received += chunk
                return bytes(received)

            async def send(sock: socket.socket) -> None:
                await loop.sock_sendall(sock, data)
                sock.shutdown(socket.SHUT_WR)

            async def disturb() -> None:
                for _ in range(5):
                    await pair.interrupt()
                    await asyncio.sleep(0.02)  # let it carry something

            _, _, one, other, _ = await asyncio.gather(
                send(near_socket), send(far_socket), receive(near_socket), receive(far_socket), disturb()
            )
            assert one == data
            assert other == data
            await asyncio.gather(*copying)
            await settled(pair)

    asyncio.run(body())


def test_what_is_written_while_down_arrives_afterwards() -> None:
    async def body() -> None:
        async with sessions() as pair:
            stream = await pair.near.open_stream()
            await stream.write(b"before ")
            remote = await pair.far.accept_stream()
            assert await remote.read_exactly(7) == b"before "
            pair.cut()
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
            await stream.write(b"meanwhile ")
            await remote.write(b"answer")
            await remote.finish()
            await pair.renew()
            await stream.write(b"after")
            await stream.finish()
            assert await remote.read_exactly(15) == b"meanwhile after"
            assert await remote.read() == b""
            assert await stream.read_exactly(6) == b"answer"
            assert await stream.read() == b""
            await settled(pair)

    asyncio.run(body())


def test_a_stream_that_the_peer_never_heard_of_begins_after_the_cut() -> None:
    async def body() -> None:
        async with sessions() as pair:
            stream = await pair.near.open_stream()
            pair.cut()
            await stream.write(b"hello")
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
            await pair.renew()
            remote = await pair.far.accept_stream()
            assert await remote.read_exactly(5) == b"hello"

    asyncio.run(body())


def test_a_stream_aborted_while_down_ends_at_the_peer_too() -> None:
    async def body() -> None:
        async with sessions() as pair:
            ours = await pair.near.open_stream()
            await ours.write(b"x")
            theirs = await pair.far.accept_stream()
            assert await theirs.read_exactly(1) == b"x"
            pair.cut()
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
            await ours.abort()
            await pair.renew()
            with pytest.raises(StreamReset):
                await theirs.read()
            await settled(pair)

    asyncio.run(body())


def test_a_stream_aborted_by_the_acceptor_while_down_ends_at_the_opener() -> None:
    async def body() -> None:
        async with sessions() as pair:
            ours = await pair.near.open_stream()
            await ours.write(b"x")
            theirs = await pair.far.accept_stream()
            assert await theirs.read_exactly(1) == b"x"
            pair.cut()
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
            await theirs.abort()
            await pair.renew()
            with pytest.raises(StreamReset):
                await ours.read()
            await settled(pair)

    asyncio.run(body())


def test_a_full_replay_buffer_holds_the_writer_back() -> None:
    settings = SessionSettings(replay_buffer=1 * MiB)

    async def body() -> None:
        async with sessions(settings) as pair:
            stream = await pair.near.open_stream()
            await stream.write(b"x")
            remote = await pair.far.accept_stream()
            assert await remote.read_exactly(1) == b"x"
            pair.cut()
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
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
                pair.cut()
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
            stream = await pair.near.open_stream()
            await stream.write(b"x")
            remote = await pair.far.accept_stream()
            assert await remote.read_exactly(1) == b"x"
            pair.cut()
            await asyncio.gather(pair.near.wait_down(), pair.far.wait_down())
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
            await settled(pair)

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
            await settled(pair)

    asyncio.run(body())
