"""A stream behind ``asyncio.Transport``: data, ends, and flow control both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from irosh.transport.asyncio_transport import HIGH_WATER, StreamTransport
from irosh.transport.interfaces import CarrierStream
from tests.support.nodes import connected_pair


class Recorder(asyncio.Protocol):
    """Keeps what a protocol is told."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.received = bytearray()
        self.got = asyncio.Event()
        self.lost = asyncio.Event()
        self.paused = asyncio.Event()
        self.resumed = asyncio.Event()
        self.ended = asyncio.Event()
        self.error: Exception | None = None
        self._keep_open = keep_open

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.got.set()

    def eof_received(self) -> bool:
        self.ended.set()
        return self._keep_open

    def pause_writing(self) -> None:
        self.paused.set()

    def resume_writing(self) -> None:
        self.resumed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.lost.set()


def test_data_and_orderly_end() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            ours, theirs = Recorder(), Recorder()
            left = StreamTransport(await near.open_stream(), ours)
            left.writelines([b"hel", b"lo"])
            right = StreamTransport(await far.accept_stream(), theirs)
            while theirs.received != b"hello":
                theirs.got.clear()
                await theirs.got.wait()
            left.close()
            await asyncio.gather(left.wait_closed(), right.wait_closed())
            assert ours.lost.is_set() and theirs.lost.is_set()
            assert ours.error is None and theirs.error is None
            assert theirs.ended.is_set()

    asyncio.run(body())


def test_close_writes_what_is_buffered_first() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            left = StreamTransport(await near.open_stream(), Recorder())
            left.write(b"x" * 2_000_000)
            left.close()
            stream = await far.accept_stream()
            size = 0
            while data := await stream.read():
                size += len(data)
            assert size == 2_000_000
            await left.wait_closed()

    asyncio.run(body())


def test_writer_is_paused_and_resumed() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            protocol = Recorder()
            left = StreamTransport(await near.open_stream(), protocol)
            for _ in range(64):
                left.write(b"x" * 65536)
            assert protocol.paused.is_set()
            assert left.get_write_buffer_size() > HIGH_WATER
            drained = asyncio.create_task(left.drained())
            stream = await far.accept_stream()

            async def read_on() -> None:
                while await stream.read():
                    pass

            reading = asyncio.create_task(read_on())  # it may have everything before the writer is told to go on
            await protocol.resumed.wait()
            await drained
            await left.aclose()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(body())


@asynccontextmanager
async def received() -> AsyncIterator[tuple[CarrierStream, StreamTransport, Recorder]]:
    """A stream as its sender has it, and the transport that has handed its first byte to a protocol."""
    async with connected_pair() as (near, far):
        sender = await near.open_stream()
        await sender.write(b"1")
        protocol = Recorder()
        right = StreamTransport(await far.accept_stream(), protocol)
        await protocol.got.wait()
        yield sender, right, protocol


def test_paused_reader_is_not_fed() -> None:
    async def body() -> None:
        async with received() as (sender, right, _):
            right.pause_reading()
            sending = asyncio.create_task(sender.write(b"x" * 20_000_000))
            done, _ = await asyncio.wait((sending,), timeout=1.0)
            assert not done, "flow control must reach the sender"
            right.resume_reading()
            await sending
            await right.aclose()

    asyncio.run(body())


def test_reset_is_told_as_an_error() -> None:
    async def body() -> None:
        async with received() as (sender, right, protocol):
            await sender.abort(3)
            await right.wait_closed()
            assert protocol.error is not None

    asyncio.run(body())
