"""A lane: the stream of one carrier by which this side sends pieces of one stream of the session."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from irosh.transport.interfaces import ConnectionLost, StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.frames import START_SIZE, pack_lane
from irosh.transport.session.lane_frames import Piece, pack_piece
from irosh.transport.session.sending import Flight
from irosh.transport.small import SmallEvent


class LaneUser(Protocol):
    """The stream of a lane, as the lane knows it."""

    number: int

    def piece(self, flight: Flight[Carrier]) -> Piece | None:
        """What to send as ``flight``; None when the peer has it by another way."""

    def on_lane(self, flight: Flight[Carrier], position: int) -> None:
        """``flight`` is about to be sent; the lane is at ``position`` behind it."""

    def withdrawn(self, flight: Flight[Carrier]) -> None:
        """``flight`` was not sent."""


class Lane:
    """:meth:`run` opens it and sends what is :meth:`put`, until :meth:`finish`."""

    def __init__(self, number: int, carrier: Carrier, user: LaneUser) -> None:
        self.number = number
        self.carrier = carrier
        self._user = user
        self._queue: deque[Flight[Carrier]] = deque()
        self._wake = SmallEvent()
        self._finished = False

    def put(self, flight: Flight[Carrier]) -> None:
        """Send it, behind those before."""
        self._queue.append(flight)
        self._wake.set()

    def finish(self) -> None:
        """Nothing more will be put; what has not been sent is not worth it."""
        self._finished = True
        self._queue.clear()
        self._wake.set()

    async def run(self) -> None:
        """Until finished, or the carrier is lost."""
        try:
            stream = await self.carrier.connection.open_stream()
            try:
                await stream.write(pack_lane(self._user.number, self.number))
                await stream.stop()
                position = START_SIZE
                while not self._finished:
                    await self._wake.wait()
                    self._wake.clear()
                    while self._queue:
                        position = await self._send(stream.write, position)
                await stream.finish()
            except BaseException:
                await asyncio.shield(stream.abort())
                raise
        except (ConnectionLost, StreamReset):
            pass  # the session learns of the carrier's loss by itself, and the stream that nothing more is wanted

    async def _send(self, write: Writer, position: int) -> int:
        flight = self._queue.popleft()
        piece = self._user.piece(flight)
        if piece is None:
            self._user.withdrawn(flight)
            return position
        data = pack_piece(piece)
        self._user.on_lane(flight, position + len(data))
        await write(data)
        return position + len(data)


class Writer(Protocol):
    """``CarrierStream.write``."""

    async def __call__(self, data: bytes) -> None: ...
