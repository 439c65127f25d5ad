"""The faster byte path changes nothing but the speed."""

from __future__ import annotations

import asyncio
import hashlib
import os
from types import SimpleNamespace

import pytest
from iroh import iroh_ffi

from irosh.transport import fastpath
from irosh.transport.wheel_freeing import Freeing
from tests.support.nodes import connected_pair


@pytest.mark.parametrize("size", [0, 1, 2, 3, 15, 16, 17, 4095, 65_536, 1_000_003])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_lowered_bytes_are_the_bytes(size: int, kind: type) -> None:
    data = os.urandom(size)
    lowered = iroh_ffi._UniffiFfiConverterBytes.lower(kind(data))
    assert iroh_ffi._UniffiFfiConverterBytes.lift(lowered) == data


@pytest.mark.parametrize("text", ["", "x", "ä" * 1000, "relay.example"])
def test_lowered_text_is_the_text(text: str) -> None:
    assert iroh_ffi._UniffiFfiConverterString.lift(iroh_ffi._UniffiFfiConverterString.lower(text)) == text


def test_bytes_arrive_in_order_whatever_the_chunks() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            sender = await near.open_stream()
            digest = hashlib.sha256()

            async def send() -> None:
                for size in (1, 7, 100, 4096, 65_536, 300_000, 1_048_577, 3):
                    chunk = os.urandom(size)
                    digest.update(chunk)
                    await sender.write(chunk)
                await sender.finish()

            sending = asyncio.create_task(send())
            receiver = await far.accept_stream()
            received = hashlib.sha256()
            while data := await receiver.read(50_000):
                received.update(data)
            await sending
            assert received.digest() == digest.digest()

    asyncio.run(body())


def test_other_tasks_run_while_every_call_is_answered_at_once() -> None:
    async def body() -> None:
        async with connected_pair() as (near, _far):
            stream = await near.open_stream()
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    ticks += 1
                    await asyncio.sleep(0)

            ticker = asyncio.create_task(tick())
            for _ in range(200):
                await stream.write(b"x")
            ticker.cancel()
            assert ticks >= 5

    asyncio.run(body())


def test_cancelled_read_loses_no_bytes() -> None:
    async def body() -> None:
        async with connected_pair() as (near, far):
            sender = await near.open_stream()
            await sender.write(b"a")
            receiver = await far.accept_stream()
            assert await receiver.read(10) == b"a"
            reading = asyncio.create_task(receiver.read(10))
            await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await sender.write(b"b")
            assert await receiver.read(10) == b"b"

    asyncio.run(body())


def test_a_mended_wheel_is_left_alone() -> None:
    class Builder:
        def write(self, value: bytes) -> None:
            raise AssertionError(value)

    class Converter:
        @staticmethod
        def lower(value: bytes) -> None:
            raise AssertionError(value)

    async def call_async(rust_future: object, other_shape: object) -> None:
        raise AssertionError(rust_future, other_shape)

    mended = SimpleNamespace(
        _UniffiRustBufferBuilder=Builder, _UniffiFfiConverterBytes=Converter, _uniffi_rust_call_async=call_async
    )
    before = (Builder.write, Converter.lower, call_async)
    assert fastpath.install(mended, Freeing()) == ()
    assert (Builder.write, Converter.lower, mended._uniffi_rust_call_async) == before


def test_installing_twice_replaces_nothing() -> None:
    assert fastpath.install(iroh_ffi, Freeing()) == ()
