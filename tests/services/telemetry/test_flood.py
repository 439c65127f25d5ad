"""A host that tells how busy it is far more often than it was asked: what watches it is not kept busy."""

from __future__ import annotations

import asyncio
import struct
import time
from pathlib import Path

import pytest

from irosh.node.control_client import ControlClient
from irosh.services.telemetry.messages import HostReading, encode_reading
from irosh.services.telemetry.service import TelemetryService
from irosh.transport.interfaces import ByteStream
from tests.support.nodes import linked_nodes

BODY = encode_reading(HostReading(0.5, 4, 1.0, *range(9)))


async def flood(_service: TelemetryService, stream: ByteStream, _interval: float) -> None:
    while True:
        await stream.write((struct.pack(">H", len(BODY)) + BODY) * 1000)


def test_frames_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TelemetryService, "_tell", flood)

    async def scenario() -> None:
        async with linked_nodes(tmp_path, ["telemetry"]) as (host, node, destination):
            await asyncio.shield((await node.links.get(destination)).welcome)
            begun = await asyncio.to_thread(three_events, node.state.control_socket_path, host.identity.id)
            assert begun > 0.8

    def three_events(path: Path, target: str) -> float:
        with ControlClient(path) as command:
            command.request("telemetry.watch", {"target": target, "interval": 1.0})
            times = [time.monotonic() for _, message in zip(range(3), command.messages(), strict=False) if message]
        return times[2] - times[0]

    asyncio.run(scenario())
