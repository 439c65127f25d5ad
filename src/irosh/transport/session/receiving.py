"""The receiving side of a session's stream: bytes are counted as they arrive, by whichever carrier brings them.

After a resume the peer goes on from that count.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from functools import partial
from typing import Protocol

from irosh.transport.interfaces import CarrierStream, ConnectionLost, SpliceCounters, StreamReset
from irosh.transport.session.frames import ReceiveState
from irosh.transport.session.kept_read import KeptRead
from irosh.transport.session.taps import CountingTap
from irosh.transport.small import SmallEvent
from irosh.transport.splice import LARGE_CHUNK, StaleCopy, end_writing

READ_AHEAD = 16 * 1024  # bytes asked of the carrier when only a few are wanted: one call where there were several


class Acknowledger(Protocol):
    """The session of a stream."""

    def arrived(self, stream: ReceivingSide, size: int) -> None:
        """``size`` more bytes (or the end, as one) have arrived; they are to be acknowledged."""


class ReceivingSide(ABC):
    """Reads from the present carrier, and from the next one when that is lost. ``ours``: this side opened it."""

    def __init__(self, owner: Acknowledger, number: int, *, ours: bool) -> None:
        self.number = number
        self.ours = ours
        self.received = 0
        self.unacknowledged = 0
        """Bytes that arrived since the last acknowledgement was sent."""
        self.confirmed = False
        """The peer is known to have heard of this stream."""
        self._owner = owner
        self._reader: CarrierStream | None = None
        self._attached = SmallEvent()  # there is a reader, or there will never be one
        self._early = bytearray()  # arrived, not yet taken
        self._reads = KeptRead()
        self._read_end = False
        self._stopped: int | None = None
        self._read_error: Exception | None = None

    @abstractmethod
    def detach(self) -> None:
        """The carrier is gone; wait for the next one."""

    @abstractmethod
    def _settle(self) -> None:
        """The session may forget the stream once neither way needs it."""

    # -- the session's side

    @property
    def is_attached(self) -> bool:
        """Whether a carrier brings what the peer sends."""
        return self._reader is not None

    @property
    def receive_state(self) -> ReceiveState:
        """What to tell the peer besides ``received``."""
        state = ReceiveState.OPEN
        if self._read_end:
            state |= ReceiveState.ENDED
        if self._stopped is not None:
            state |= ReceiveState.STOPPED
        if self.ours and not self.confirmed:
            state |= ReceiveState.UNSURE
        return state

    def _no_reader(self) -> None:
        self._reader = None
        if self._read_error is None:
            self._attached.clear()

    # -- reading

    async def read(self, limit: int = 65536) -> bytes:
        if self._early:
            return self._take(limit)
        data = await self._read(limit)
        if len(data) > limit:  # of a read that was begun with another limit
            self._early += data[limit:]
            data = data[:limit]
        return data

    async def read_exactly(self, size: int) -> bytes:
        while len(self._early) < size:
            data = await self._read(max(READ_AHEAD, size - len(self._early)))
            if not data:
                raise EOFError("the stream ended early")
            self._early += data
        return self._take(size)

    def _take(self, limit: int) -> bytes:
        data = bytes(self._early[:limit])
        del self._early[:limit]
        return data

    async def _read(self, limit: int) -> bytes:
        while not self._read_end:
            carrier = await self._readable()
            try:
                data = await self._reads.read(carrier, limit)
            except (ConnectionLost, StreamReset) as error:
                self._read_failed(carrier, error)
                continue
            if carrier is not self._reader:
                continue  # the peer sends it again on the new carrier
            if data:
                self._count(len(data))
                return data
            self._end_reading()
        return b""

    async def _readable(self) -> CarrierStream:
        while self._reader is None:
            if self._read_error is not None:
                raise self._read_error
            await self._attached.wait()
        return self._reader

    def _read_failed(self, carrier: CarrierStream, error: Exception) -> None:
        """Raises what is meant for the reader; returns when the next carrier is to be waited for."""
        if carrier is not self._reader:
            return
        if isinstance(error, StreamReset):
            self._read_error = error
            self._settle()
            raise error
        self.detach()

    def _count(self, size: int) -> None:
        self.confirmed = True
        self.received += size
        self.unacknowledged += size
        self._owner.arrived(self, size)

    def _end_reading(self) -> None:
        self._read_end = True
        self._owner.arrived(self, 1)
        self._settle()

    async def stop(self, code: int = 0) -> None:
        if self._stopped is not None or self._read_end:
            return
        self._stopped = code
        self._early.clear()
        self._read_error = self._read_error or StreamReset(code)
        carrier = self._reader
        self._owner.arrived(self, 0)  # a peer that has finished would never learn it from its carrier
        self._settle()
        self._reads.drop()
        if carrier is not None:
            await carrier.stop(code)

    # -- copying to a socket

    def copied(self, carrier: CarrierStream, size: int) -> None:
        """A copy has read ``size`` bytes from ``carrier``. :class:`StaleCopy` if that is the present one no more."""
        if carrier is not self._reader:
            raise StaleCopy  # the peer sends them again
        self._count(size)

    async def _copy_down(self, sock: socket.socket, counters: SpliceCounters) -> None:
        loop = asyncio.get_running_loop()
        while self._early or self._reads.is_kept:
            if not (data := await self.read(LARGE_CHUNK)):
                break
            await loop.sock_sendall(sock, data)
            counters.received += len(data)
        while not self._read_end:
            carrier = await self._readable()
            try:
                await carrier.copy_to(sock, CountingTap(partial(self.copied, carrier), counters))
            except (ConnectionLost, StreamReset) as error:
                self._read_failed(carrier, error)
                continue
            except StaleCopy:
                continue
            if carrier is self._reader:
                self._end_reading()
        end_writing(sock)
