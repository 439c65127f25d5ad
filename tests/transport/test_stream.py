"""Streams, datagrams and close reasons of the engine, between two real endpoints."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.transport.close_reason import decode_reason, encode_reason
from irosh.transport.interfaces import ConnectionLost, Route, StreamReset
from irosh.transport.wheel import EndpointSettings, bind_endpoint
from tests.support.nodes import bare_endpoint, connected_pair


def test_half_close_leaves_the_other_direction_open() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            ours = await near.open_stream()
            await ours.write(b"question")
            await ours.finish()
            theirs = await far.accept_stream()
            assert await theirs.read_exactly(8) == b"question"
            assert await theirs.read() == b""
            await theirs.write(b"answer")
            await theirs.finish()
            assert await ours.read() == b"answer"
            assert await ours.read() == b""

    asyncio.run(body())


def test_abort_is_seen_as_a_reset_both_ways() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            ours = await near.open_stream()
            await ours.write(b"x")
            theirs = await far.accept_stream()
            assert await theirs.read(1) == b"x"
            await ours.abort(77)
            with pytest.raises(StreamReset) as reset:
                await theirs.read()
            assert reset.value.code == 77
            with pytest.raises(StreamReset):
                while True:
                    await theirs.write(b"y" * 65536)
            await ours.abort()  # harmless when ended

    asyncio.run(body())


def test_stream_that_ends_early_is_an_end_of_file() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            ours = await near.open_stream()
            await ours.write(b"12")
            await ours.finish()
            with pytest.raises(EOFError):
                await (await far.accept_stream()).read_exactly(3)

    asyncio.run(body())


def test_datagrams_keep_their_boundaries_and_too_large_ones_are_refused() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            limit = near.max_datagram_size
            assert limit >= 1000
            assert near.send_datagram(b"one")
            assert await far.receive_datagram() == b"one"
            assert near.send_datagram(b"z" * 1000)
            assert await far.receive_datagram() == b"z" * 1000
            assert not near.send_datagram(b"z" * (limit + 5000))

    asyncio.run(body())


def test_close_tells_the_peer_why() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            far.close(IroshError(ErrorCode.REVOKED, "your access ended: naïve", "ask again"))
            reason = await near.wait_closed()
            assert (reason.code, reason.message, reason.hint) == (
                ErrorCode.REVOKED,
                "your access ended: naïve",
                "ask again",
            )
            assert near.is_closed
            with pytest.raises(ConnectionLost) as lost:
                await near.open_stream()
            assert lost.value.code is ErrorCode.REVOKED

    asyncio.run(body())


def test_paths_show_the_direct_path() -> None:
    async def body() -> None:
        async with connected_pair() as (near, _far):
            paths = near.paths()
            assert [path.selected for path in paths].count(True) == 1
            assert not any(path.relayed for path in paths)
            assert all(path.remote.startswith(("127.0.0.1:", "[::1]:")) for path in paths)

    asyncio.run(body())


def test_another_identity_at_the_address_is_noticed() -> None:
    async def body() -> None:
        async with bare_endpoint() as dialler, bare_endpoint() as other:
            accepting = asyncio.create_task(other.accept())
            expected = Route(Identity.generate().id, (), other.route().addresses)
            with pytest.raises(IroshError) as error:
                await dialler.connect(expected)
            assert error.value.code is ErrorCode.IDENTITY_MISMATCH
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)

    asyncio.run(body())


def test_a_taken_address_is_a_clear_error() -> None:
    async def body() -> None:
        async with bare_endpoint() as first:
            taken = first.route().addresses[0]
            with pytest.raises(IroshError) as error:
                await bind_endpoint(EndpointSettings(secret=Identity.generate().secret, bind=(taken,), relays=()))
            assert error.value.code is ErrorCode.PORT_TAKEN

    asyncio.run(body())


def test_loopback_binding_opens_no_other_interface() -> None:
    async def body() -> None:
        async with bare_endpoint() as endpoint:
            hosts = {address.rpartition(":")[0] for address in endpoint.route().addresses}
            assert hosts == {"127.0.0.1", "[::1]"}

    asyncio.run(body())


@given(st.sampled_from(ErrorCode), st.text(max_size=500), st.text(max_size=500))
def test_any_reason_fits_a_close_frame_and_comes_back_printable(code: ErrorCode, message: str, hint: str) -> None:
    quic_code, reason = encode_reason(IroshError(code, message, hint))
    assert len(reason) < 4200
    decoded = decode_reason(f"closed by peer: {reason.decode()} (code {quic_code})")
    assert decoded.code is code
    assert decoded.message.isprintable()


@given(st.text())
def test_any_foreign_reason_is_readable(text: str) -> None:
    for shape in (text, f"closed by peer: {text} (code 1)", f"closed by peer: {text}"):
        error = decode_reason(shape)
        assert isinstance(error, ConnectionLost)
        assert error.message.isprintable()
