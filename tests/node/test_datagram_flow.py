"""Flows of packets between two nodes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.datagram_flow import DatagramFlow
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.interfaces import StreamReset
from tests.support.nodes import DEADLINE, linked_nodes


def test_the_reason_of_a_refusal_is_heard_when_packets_are_refused_before_it_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with linked_nodes(tmp_path, ["telemetry"]) as (_, client, destination):
            connection = await client.links.get(destination)
            number = connection.new_flow()
            opened = await connection.open("tunnel", TunnelRequest("udp://192.0.2.1:53", flow=number))
            flow = DatagramFlow(connection, opened.stream, number, lambda _packet: None, idle=DEADLINE)

            async def answer_late() -> None:
                with pytest.raises(StreamReset):
                    while True:
                        await opened.stream.write(b"x")
                        await asyncio.sleep(0.01)
                flow.send(b"a packet")
                for _ in range(10):  # its refusal is seen
                    await asyncio.sleep(0)
                await opened.answer()

            with pytest.raises(IroshError) as refusal:
                await flow.run(answer_late())
            assert refusal.value.code is ErrorCode.DENIED

    asyncio.run(scenario())
