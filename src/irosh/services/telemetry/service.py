"""The telemetry service: the host's side, and the operation by which commands watch a peer."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wire import LENGTH_SIZE, frame_length
from irosh.node.actions import Action, Use
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.link_events import MAX_EVENTS
from irosh.node.metrics.summary import session_summary
from irosh.node.node import Node, Reached
from irosh.node.operations import path_summary
from irosh.node.services import IncomingStream
from irosh.services.telemetry.messages import (
    HostReading,
    LinkReading,
    TelemetryRequest,
    WatchRequest,
    decode_reading,
    encode_reading,
    reading_between,
)
from irosh.services.telemetry.sampler import Sampler
from irosh.transport.interfaces import ByteStream
from irosh.transport.session.lifetime import LinkEvent
from irosh.transport.tasks import first_to_end

FIRST = 0.5
"""Seconds between the two looks from which the first frame comes."""
_LENGTH = struct.Struct(">H")


class TelemetryService:
    """Service ``telemetry``; see :class:`irosh.node.services.Service`."""

    name = "telemetry"
    request_type = TelemetryRequest

    def __init__(self) -> None:
        self._sampler = Sampler()

    def required(self, request: Any) -> Sequence[Action]:
        return (Use(("telemetry",)),)

    async def serve(self, incoming: IncomingStream) -> None:
        request: TelemetryRequest = incoming.request
        await incoming.accept()
        await first_to_end(self._tell(incoming.stream, request.interval), _until_left(incoming.stream))

    def operations(self, node: Node) -> dict[str, Operation]:
        async def watch(channel: Channel, request: dict[str, Any]) -> None:
            asked = parsed_request(request, WatchRequest)
            await channel.while_connected(_watch(node, channel, asked))

        return {"telemetry.watch": watch}

    async def _tell(self, stream: ByteStream, interval: float) -> None:
        before, pause = await self._sampler.counters(), FIRST
        while True:
            await asyncio.sleep(pause)
            after, pause = await self._sampler.counters(), interval
            body = encode_reading(reading_between(before, after))
            before = after
            # A link that is down holds this up, so that nothing piles up meanwhile but what the stream keeps.
            await stream.write(_LENGTH.pack(len(body)) + body)


async def _until_left(stream: ByteStream) -> None:
    """Until the peer wants no more; it has nothing to say."""
    while await stream.read(64):
        pass


async def _watch(node: Node, channel: Channel, asked: WatchRequest) -> None:
    """Operation ``telemetry.watch``: an event for each frame and each change of the link, until the client leaves."""
    reached = await node.reach(asked, ChannelExchange(channel))
    opened = await reached.connection.open("telemetry", TelemetryRequest(asked.interval))
    await opened.answer()
    news: asyncio.Queue[HostReading | LinkEvent] = asyncio.Queue(MAX_EVENTS)

    def link_changed(event: LinkEvent) -> None:
        if not news.full():
            news.put_nowait(event)

    async def read() -> None:
        while True:
            length = frame_length(await opened.stream.read_exactly(LENGTH_SIZE))
            await news.put(decode_reading(await opened.stream.read_exactly(length)))
            await asyncio.sleep(asked.interval / 2)  # a host that tells more than it was asked for is held up

    async def tell() -> None:
        reading: HostReading | None = None
        while True:
            new = await news.get()
            reading = new if isinstance(new, HostReading) else reading
            if reading is not None:
                await channel.event("telemetry", **_fields(node, reached, reading))

    with reached.connection.session.watched(link_changed):
        try:
            await first_to_end(read(), tell())
        except EOFError:
            raise IroshError(ErrorCode.CONNECTION_LOST, "the peer tells no more how busy it is") from None
        finally:
            await opened.stream.abort()


def _fields(node: Node, reached: Reached, reading: HostReading) -> dict[str, Any]:
    node.collector.refresh(reached.connection)
    as_fields = msgspec.structs.asdict
    return {"peer": reached.peer.petname, "host": as_fields(reading), "link": as_fields(_link(reached))}


def _link(reached: Reached) -> LinkReading:
    summary, path = session_summary(reached.connection), path_summary(reached.connection)
    return LinkReading(
        down=summary["down"],
        path=path["path"],
        rtt_ms=path["rtt_ms"],
        jitter_ms=summary["jitter_ms"],
        loss=summary["loss"],
    )
