"""Splicing a real socket with a real stream: bytes, half-close, resets, refusal."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from iroh import iroh_ffi

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport import wheel_bindings, wheel_connection
from irosh.transport.interfaces import SpliceCounters, Stream, StreamReset
from irosh.transport.wheel_calls import stream_calls
from tests.support.nodes import session_pair


@pytest.fixture(params=["callbacks", "general"], autouse=True)
def copies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with the wheel's own copies and with those that any engine can use."""
    assert wheel_bindings.CALLS is not None, "this wheel is not made as irosh.transport.wheel_calls knows it"
    if request.param == "general":
        monkeypatch.setattr(wheel_connection, "CALLS", None)


def test_a_wheel_of_another_make_is_spliced_the_general_way() -> None:
    assert stream_calls(iroh_ffi) is not None
    assert stream_calls(SimpleNamespace(_UniffiLib=SimpleNamespace())) is None


@asynccontextmanager
async def spliced() -> AsyncIterator[tuple[socket.socket, Stream, asyncio.Task[Exception | None], SpliceCounters]]:
    """The outer end of a TCP pair whose inner end is spliced with a stream, and the stream's far end."""
    async with session_pair() as (near, far):
        stream = await near.open_stream()
        await stream.write(b"!")
        remote = await far.accept_stream()
        assert await remote.read_exactly(1) == b"!"
        outer, inner = _tcp_pair()
        counters = SpliceCounters()
        task = asyncio.create_task(stream.splice(inner, counters))
        try:
            yield outer, remote, task, counters
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            outer.close()
            assert inner.fileno() == -1


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0))
    outer = socket.create_connection(listener.getsockname())
    inner, _ = listener.accept()
    listener.close()
    outer.setblocking(False)
    return outer, inner


def test_large_transfers_both_ways_keep_every_byte() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        up, down = os.urandom(5_000_000), os.urandom(7_000_000)
        async with spliced() as (outer, remote, task, counters):

            async def local() -> str:
                sending = asyncio.create_task(loop.sock_sendall(outer, up))
                received = bytearray()
                while data := await loop.sock_recv(outer, 65536):
                    received += data
                await sending
                outer.shutdown(socket.SHUT_WR)
                return hashlib.sha256(received).hexdigest()

            async def distant() -> str:
                async def send() -> None:
                    await remote.write(down)
                    await remote.finish()

                sending = asyncio.create_task(send())
                received = bytearray()
                while data := await remote.read():
                    received += data
                await sending
                return hashlib.sha256(received).hexdigest()

            got_down, got_up = await asyncio.gather(local(), distant())
            assert got_down == hashlib.sha256(down).hexdigest()
            assert got_up == hashlib.sha256(up).hexdigest()
            await task
            assert (counters.sent, counters.received) == (len(up), len(down))

    asyncio.run(body())


def test_half_close_from_the_socket_lets_the_answer_through() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        async with spliced() as (outer, remote, task, _):
            await loop.sock_sendall(outer, b"request")
            outer.shutdown(socket.SHUT_WR)
            assert await remote.read_exactly(7) == b"request"
            assert await remote.read() == b""
            await remote.write(b"late answer")
            await remote.finish()
            assert await loop.sock_recv(outer, 100) == b"late answer"
            assert await loop.sock_recv(outer, 100) == b""
            await task

    asyncio.run(body())


def test_a_reset_of_the_stream_resets_the_socket() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        async with spliced() as (outer, remote, task, _):
            await remote.abort(5)
            with pytest.raises(ConnectionResetError):
                while True:
                    assert await loop.sock_recv(outer, 100) != b"", "an orderly end instead of a reset"
            await task

    asyncio.run(body())


def test_a_reset_of_the_socket_resets_the_stream() -> None:
    async def body() -> None:
        async with spliced() as (outer, remote, task, _):
            outer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            outer.close()
            with pytest.raises(StreamReset):
                while await remote.read():
                    pass
            await task

    asyncio.run(body())


def test_data_flows_before_the_answer_and_a_refusal_reaches_the_caller() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        async with session_pair() as (near, far):
            stream = await near.open_stream()
            outer, inner = _tcp_pair()
            refused = asyncio.Event()

            async def answer() -> None:
                await refused.wait()
                raise IroshError(ErrorCode.TARGET_REFUSED, "nobody there")

            task = asyncio.create_task(stream.splice(inner, SpliceCounters(), answer()))
            await loop.sock_sendall(outer, b"early")
            remote = await far.accept_stream()
            assert await remote.read_exactly(5) == b"early"
            refused.set()
            with pytest.raises(IroshError, match="nobody there"):
                await task
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(outer, 100)
            outer.close()

    asyncio.run(body())


def test_a_slow_reader_holds_the_writer_back() -> None:
    async def body() -> None:
        async with spliced() as (outer, _remote, _task, counters):
            total = 0
            block = b"z" * 65536
            quiet = 0
            while quiet < 50:  # until neither kernel buffers nor windows take any more
                try:
                    total += outer.send(block)
                    quiet = 0
                except BlockingIOError:
                    quiet += 1
                    await asyncio.sleep(0.01)
                assert total < 64_000_000, "nothing holds the writer back"
            assert counters.sent <= total

    asyncio.run(body())
