"""Connections carried by a stream: end to end as every other, and what becomes of them when the stream is bad."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.rendezvous import carried
from irosh.rendezvous.carried import Carriage, Carried, CarriedConnections
from irosh.transport.interfaces import Stream
from irosh.transport.session.lifetime import CountedStream
from tests.support.nodes import session_pair

DEADLINE = 20.0
BROKEN = IroshError(ErrorCode.CONNECTION_LOST, "the way broke off")


def carriage(stream: Stream, released: list[str], name: str) -> Carriage:
    async def release() -> None:
        released.append(name)

    return Carriage(stream, f"through {name}", 1, lambda: BROKEN, release)


@asynccontextmanager
async def stream_pair() -> AsyncIterator[tuple[CountedStream, CountedStream]]:
    """The two ends of what hops pass on."""
    async with session_pair() as (near, far):
        ours = await near.open_stream()
        await ours.write(b"!")
        theirs = await far.accept_stream()
        assert await theirs.read_exactly(1) == b"!"
        async with asyncio.timeout(DEADLINE):
            yield ours, theirs


def identity() -> Identity:
    return Identity(os.urandom(32))


async def met(
    one: Identity, other: Identity, streams: tuple[Stream, Stream], released: list[str]
) -> tuple[Carried, Carried]:
    """Both ends of a connection from ``one`` to ``other`` over the two ends of a stream."""
    accepting = asyncio.create_task(CarriedConnections(other.secret).accept(carriage(streams[1], released, "far")))
    dialled = await CarriedConnections(one.secret).dial(carriage(streams[0], released, "near"), other.id)
    return dialled, await accepting


def test_it_is_a_connection_as_every_other_and_leaves_nothing() -> None:
    async def main() -> None:
        one, other, released = identity(), identity(), list[str]()
        async with stream_pair() as (near, far):
            dialled, accepted = await met(one, other, (near, far), released)
            assert (dialled.connection.peer_id, accepted.connection.peer_id) == (other.id, one.id)
            assert [path.remote for path in dialled.connection.paths()] == ["through near"]
            accepted.connection.allow_streams(4, window=1 << 20)
            stream, data = await dialled.connection.open_stream(), os.urandom(3_000_000)
            writing = asyncio.create_task(stream.write(data))
            got = await accepted.connection.accept_stream()
            assert await got.read_exactly(len(data)) == data
            await writing
            assert far.received > len(data), "it has no other way, though both ends are on one machine"
            assert dialled.connection.send_datagram(b"a datagram")
            assert await accepted.connection.receive_datagram() == b"a datagram"
            dialled.connection.close(IroshError(ErrorCode.REVOKED, "no more"))
            assert (await accepted.connection.wait_closed()).code is ErrorCode.REVOKED
            await dialled.wait_over()
            await accepted.wait_over()
            assert sorted(released) == ["far", "near"]

    asyncio.run(main())


def test_another_identity_at_the_end_is_not_taken() -> None:
    async def main() -> None:
        released: list[str] = []
        ours, theirs = CarriedConnections(identity().secret), CarriedConnections(identity().secret)
        async with stream_pair() as (near, far):
            accepting = asyncio.create_task(theirs.accept(carriage(far, released, "far")))
            with pytest.raises(IroshError) as raised:
                await ours.dial(carriage(near, released, "near"), identity().id)
            assert raised.value.code is ErrorCode.IDENTITY_MISMATCH
            with pytest.raises(IroshError):
                await accepting
            assert "near" in released

    asyncio.run(main())


@pytest.mark.parametrize("accepts", [False, True], ids=["dialling", "accepting"])
def test_a_hop_that_passes_nothing_on_is_given_up(monkeypatch: pytest.MonkeyPatch, *, accepts: bool) -> None:
    monkeypatch.setattr(carried, "HANDSHAKE_DEADLINE", 0.2)

    async def main() -> None:
        released: list[str] = []
        ours = CarriedConnections(identity().secret)
        async with stream_pair() as (near, _far):
            asked = carriage(near, released, "near")
            with pytest.raises(IroshError) as raised:
                await (ours.accept(asked) if accepts else ours.dial(asked, identity().id))
            assert raised.value.code is ErrorCode.TIMEOUT
            assert "near" in released

    asyncio.run(main())


def test_a_hop_that_ends_before_the_handshake_is_to_blame() -> None:
    async def main() -> None:
        released: list[str] = []
        ours = CarriedConnections(identity().secret)
        async with stream_pair() as (near, far):
            await far.abort(4)
            with pytest.raises(IroshError) as raised:
                await ours.dial(carriage(near, released, "near"), identity().id)
            assert raised.value.message == BROKEN.message

    asyncio.run(main())


def test_when_the_stream_breaks_both_ends_know_and_may_go_on_by_another() -> None:
    async def main() -> None:
        released: list[str] = []
        async with stream_pair() as (near, far):
            dialled, accepted = await met(identity(), identity(), (near, far), released)
            await near.abort(4)
            for end in (dialled, accepted):
                reason = await end.connection.wait_closed()
                assert (reason.message, reason.deliberate) == (BROKEN.message, False)
                await end.wait_over()
            assert sorted(released) == ["far", "near"]

    asyncio.run(main())
