"""Packets of an endpoint on a byte stream, and back: whole, of any size, and of nobody else."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.only_source import hear_only
from irosh.transport.packet_batches import MAX_BATCH, MAX_PACKETS, BatchReader, pack_batches
from irosh.transport.packet_pipe import PacketPipe
from tests.support.nodes import session_pair

DEADLINE = 10.0


@given(
    batches=st.lists(st.tuples(st.integers(1, 1500), st.integers(1, MAX_BATCH)), max_size=4),
    cuts=st.lists(st.integers(0, 200_000), max_size=6),
)
def test_what_is_packed_is_read_again_however_it_is_cut(batches: list[tuple[int, int]], cuts: list[int]) -> None:
    packets = [(os.urandom(length), size) for size, length in batches]
    stream = b"".join(pack_batches(data, size) for data, size in packets)
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    reader = BatchReader()
    read = [one for start, end in pairwise(ends) for one in reader.feed(stream[start:end])]
    assert all(-(-len(data) // size) <= MAX_PACKETS for data, size in read)
    singles = [data[at : at + size] for data, size in read for at in range(0, len(data), size)]
    assert singles == [data[at : at + size] for data, size in packets for at in range(0, len(data), size)]


@pytest.mark.parametrize(
    "header", [b"\0\0\0\1", b"\0\2\0\1", b"\0\1\xff\xff", b"\xff\xff\xff\xff"], ids=["no size", "short", "many", "long"]
)
def test_batches_that_cannot_be_are_refused_before_their_bytes_come(header: bytes) -> None:
    with pytest.raises(IroshError) as raised:
        list(BatchReader().feed(header))
    assert raised.value.code is ErrorCode.PROTOCOL


def test_packets_pass_both_ways_in_order() -> None:
    asyncio.run(_pass_both_ways())


async def _pass_both_ways() -> None:
    async with session_pair() as (near, far):
        ours = await near.open_stream()
        await ours.write(b"!")
        theirs = await far.accept_stream()
        await theirs.read_exactly(1)
        with PacketPipe() as one, PacketPipe() as two, _udp() as left, _udp() as right:
            one.join(left.getsockname())
            two.join(right.getsockname())
            carrying = [asyncio.create_task(one.carry(ours)), asyncio.create_task(two.carry(theirs))]
            packets = [os.urandom(size) for size in (1, 1452, 1452, 1452, 700, 9000, 1)]
            for sender, pipe, receiver in ((left, one, right), (right, two, left)):
                for packet in packets:
                    sender.sendto(packet, pipe.source)
                assert [await _received(receiver) for _ in packets] == packets
            carrying[0].cancel()
            async with asyncio.timeout(DEADLINE):
                await asyncio.gather(*carrying, return_exceptions=True)
            assert carrying[1].exception() is None, "the end of one side is that of the other"


def test_what_a_hop_makes_up_ends_it() -> None:
    asyncio.run(_make_up())


async def _make_up() -> None:
    async with session_pair() as (near, far):
        ours = await near.open_stream()
        await ours.write(b"\0\0\0\0 nonsense")
        theirs = await far.accept_stream()
        with PacketPipe() as pipe, _udp() as endpoint:
            pipe.join(endpoint.getsockname())
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(IroshError, match="packets of 0 bytes"):
                    await pipe.carry(theirs)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux'")
def test_a_socket_hears_its_one_source_and_no_other_program() -> None:
    with _udp() as bound, _udp() as source, _udp() as stranger:
        host, port = bound.getsockname()
        hear_only([f"{host}:{port}"], source.getsockname())
        stranger.sendto(b"from a stranger", (host, port))
        source.sendto(b"from the source", (host, port))
        bound.setblocking(True)
        bound.settimeout(DEADLINE)
        assert bound.recv(100) == b"from the source"
        bound.setblocking(False)
        with pytest.raises(BlockingIOError):
            bound.recv(100)


def _udp() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


async def _received(sock: socket.socket) -> bytes:
    async with asyncio.timeout(DEADLINE):
        return await asyncio.get_running_loop().sock_recv(sock, 65_535)
