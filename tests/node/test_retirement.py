"""A connection that takes no further commands: it ends with the last that uses it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode
from irosh.node import retirement
from irosh.services.telemetry.messages import TelemetryRequest
from tests.support.nodes import linked_nodes


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "GRACE", 0.0)


async def _settle() -> None:
    """Let everything happen that is due now."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_link_that_is_kept_and_an_open_stream_use_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked_nodes(tmp_path, ["telemetry"]) as (_, client, destination):
            async with client.links.keep(destination, lambda _event: None) as connection:
                await asyncio.shield(connection.welcome)
                opened = await connection.open("telemetry", TelemetryRequest(60.0))
                await opened.answer()
                connection.retirement.begin()
                assert await client.links.get(destination) is not connection
                await opened.stream.abort()
                while len(connection.streams):
                    await asyncio.sleep(0.01)
                await _settle()
                assert not connection.session.is_closed
                opened = await connection.open("telemetry", TelemetryRequest(60.0))
                await opened.answer()
            await _settle()
            assert not connection.session.is_closed
            await opened.stream.abort()
            assert (await connection.session.wait_closed()).code is ErrorCode.CLOSED

    asyncio.run(scenario())


def test_one_that_nothing_uses_ends_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked_nodes(tmp_path, ["telemetry"]) as (_, client, destination):
            connection = await client.links.get(destination)
            await asyncio.shield(connection.welcome)
            connection.retirement.begin()
            assert (await connection.session.wait_closed()).code is ErrorCode.CLOSED

    asyncio.run(scenario())
