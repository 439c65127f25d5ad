"""Packets between two services: by QUIC datagram where they fit, else by the flow's stream. Boundaries hold."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.packet_framing import MAX_PACKET, PacketParser, pack_packet
from irosh.node.peer_connection import PeerConnection
from irosh.transport.interfaces import Stream, StreamReset
from irosh.transport.tasks import first_to_end

# Packets waiting for the stream, and their bytes; further ones are dropped, as a full socket buffer would.
MAX_QUEUED, MAX_QUEUED_BYTES = 256, 1024 * 1024
_AT_ONCE = 256 * 1024  # bytes read from the stream, or written to it, at once


class DatagramFlow:
    """Both ends run one. ``deliver`` gets the peer's packets; :meth:`send` takes ours. Ends after ``idle`` seconds."""

    def __init__(
        self,
        connection: PeerConnection,
        stream: Stream,
        flow: int,
        deliver: Callable[[bytes], None],
        *,
        idle: float,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._flow = flow
        self._deliver = deliver
        self._idle = idle
        self._established = False
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes
        self._wake = asyncio.Event()
        self._last = time.monotonic()

    def send(self, packet: bytes, *, ordered: bool = False) -> None:
        """Send one packet of at most ``MAX_PACKET`` bytes; dropped when the stream is congested.

        ``ordered``: by the stream, behind those that went there before.
        """
        self._last = time.monotonic()
        # Before the peer's answer it may not know the flow yet, and a first packet is worth most: use the stream.
        if not ordered and self._established and self._connection.send_flow(self._flow, packet):
            return
        if len(self._queue) >= MAX_QUEUED or self._queued >= MAX_QUEUED_BYTES or len(packet) > MAX_PACKET:
            return
        self._queue.append(packet)
        self._queued += len(packet)
        self._wake.set()

    async def run(self, ready: Coroutine[Any, Any, None] | None = None) -> None:
        """Carry packets until the flow has been idle, the peer ends it, or the connection is gone.

        ``ready`` waits for the peer's answer, which comes before its first packet; what it raises is raised. Once the
        peer knows the flow, datagrams are used.
        """
        self._connection.receive_flow(self._flow, self._received)
        try:
            await first_to_end(self._read_stream(ready), self._write_stream(), self._watch_idle())
        finally:
            self._connection.drop_flow(self._flow)
            await self._stream.abort()

    def _received(self, packet: bytes) -> None:
        self._last = time.monotonic()
        self._deliver(packet)

    async def _write_stream(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    await self._stream.write(self._taken())
        except StreamReset:
            if self._established:
                raise
            # The peer refuses, and takes nothing: the reason comes the other way, and may be here later than that.
            await asyncio.get_running_loop().create_future()

    def _taken(self) -> bytes:
        """The packets that wait, as many as go at once."""
        parts: list[bytes] = []
        size = 0
        while self._queue and (not parts or size + len(self._queue[0]) <= _AT_ONCE):
            packet = self._queue.popleft()
            size += len(packet)
            parts.append(pack_packet(packet))
        self._queued -= size
        return b"".join(parts)

    async def _read_stream(self, ready: Coroutine[Any, Any, None] | None) -> None:
        if ready is not None:
            await ready
        self._established = True
        parser = PacketParser()
        while data := await self._stream.read(_AT_ONCE):
            for packet in parser.feed(data):
                self._received(packet)
        if parser.is_inside:
            raise IroshError(ErrorCode.PROTOCOL, "the peer broke off inside a packet")

    async def _watch_idle(self) -> None:
        # A deadline that moves with each packet; an event for each would cost more than a look now and then.
        while (left := self._last + self._idle - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
