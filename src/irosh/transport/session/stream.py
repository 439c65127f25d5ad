"""One stream of a session, carried by one stream of a connection at a time and continued on the next.

Sending: every byte is kept in a :class:`~irosh.transport.session.replay.ReplayLog` until the peer has acknowledged it.
Receiving: see :class:`~irosh.transport.session.receiving.ReceivingSide`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.interfaces import CarrierStream, ConnectionLost, SpliceCounters, StreamReset
from irosh.transport.session.ending import EndingStream
from irosh.transport.session.frames import ReceiveState
from irosh.transport.session.receiving import Acknowledger, ReceivingSide
from irosh.transport.session.replay import ReplayBudget
from irosh.transport.session.taps import KeepingTap
from irosh.transport.small import SmallEvent
from irosh.transport.splice import LARGE_CHUNK, Copies, StaleCopy, splice


class StreamOwner(Acknowledger, Protocol):
    """The session of a stream."""

    def forget(self, stream: SessionStream) -> None:
        """The stream needs the session no more."""


class SessionStream(ReceivingSide, EndingStream):
    """See :class:`irosh.transport.interfaces.Stream`. ``ours``: this side opened it."""

    _owner: StreamOwner

    def __init__(self, owner: StreamOwner, number: int, budget: ReplayBudget, *, ours: bool) -> None:
        ReceivingSide.__init__(self, owner, number, ours=ours)
        EndingStream.__init__(self, budget)
        self._writer: CarrierStream | None = None
        self._writable = SmallEvent()  # there is a writer, or there will never be one
        self._turn = asyncio.Lock()  # of writers, who may wait for room
        self._writing = asyncio.Lock()  # of who uses the carrier, or sends again on the next
        self._copying: KeepingTap | None = None
        self._resuming: asyncio.Task[Any] | None = None  # sends again, and then the end if there is one
        self._room: list[Callable[[], None]] = []
        self._start = b""  # goes before the first bytes

    # -- the session's side

    def carry(self, carrier: CarrierStream, *, start: bytes = b"", early: bytes = b"") -> None:
        """Begin on ``carrier``: ``start`` goes before the first bytes sent, ``early`` has arrived already."""
        self._reader = self._writer = carrier
        self._start = start
        self._attached.set()
        self._writable.set()
        if early:
            self._early += early
            self._count(len(early))

    def detach(self) -> None:
        self._no_reader()
        self._no_writer()

    def _no_writer(self) -> None:
        self._writer = None
        if self._write_error is None:
            self._writable.clear()
        if self._copying is not None:
            self._copying.interrupt()  # it may be waiting for its socket, and would not notice

    async def resume(self, carrier: CarrierStream, received: int, state: ReceiveState) -> None:
        """Go on with ``carrier``: the peer has ``received`` bytes of ours. ``ConnectionLost`` when it goes as well."""
        self.confirmed = True
        self._start = b""
        if state & ReceiveState.STOPPED:
            self._end_writing(StreamReset(0))
        if self._write_error is None and received < min(self.log.acknowledged, self.log.end):
            raise IroshError(ErrorCode.PROTOCOL, "the peer wants bytes again that it has acknowledged")
        self.acknowledge(received + bool(state & ReceiveState.ENDED))
        self._reader = carrier
        self._attached.set()
        self._resuming = task = asyncio.current_task()
        try:
            if self._stopped is not None:
                await carrier.stop(self._stopped)
            async with self._writing:
                await self._send_again(carrier, received)
                if self._reader is carrier:
                    self._writer = carrier
                    self._writable.set()
        finally:
            if self._resuming is task:
                self._resuming = None

    async def _send_again(self, carrier: CarrierStream, offset: int) -> None:
        try:
            while self._write_error is None and (data := self.log.read(offset, LARGE_CHUNK)):
                offset += len(data)
                await carrier.write(data)
            if self._write_error is None and self.log.finished:
                await carrier.finish()
        except StreamReset as error:
            self._end_writing(error)

    def acknowledge(self, offset: int) -> None:
        """The peer has everything below ``offset``. ``IroshError`` (protocol-error) if it cannot have."""
        self.confirmed = True
        if self._write_error is None and self.log.acknowledge(offset):
            self._wake_writers()
            self._settle()

    def unwanted(self) -> None:
        """The peer reads nothing more of it."""
        self.confirmed = True
        self._end_writing(StreamReset(0))

    def fail(self, error: Exception) -> None:
        """End both ways with ``error``."""
        self._read_error = self._read_error or error
        self._write_error = self._write_error or error
        self._reader = None
        self._reads.drop()
        self._no_writer()
        self._attached.set()
        self._writable.set()
        self.log.drop()
        self._wake_writers()

    # -- writing

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        async with self._turn:
            kept = self.log.end
            try:
                for begin in range(0, len(data), LARGE_CHUNK):
                    chunk = data if len(data) <= LARGE_CHUNK else memoryview(data)[begin : begin + LARGE_CHUNK]
                    await self._write_chunk(chunk)
            except asyncio.CancelledError:
                self._torn = self._torn or self.log.end > kept
                raise

    async def _write_chunk(self, chunk: bytes | bytearray | memoryview) -> None:
        await self._wait_room()
        async with self._writing:
            await self._check_writing()
            self.log.append(chunk)
            if (carrier := self._writer) is not None:
                await self._write(carrier, chunk)

    async def _write(self, carrier: CarrierStream, data: bytes | bytearray | memoryview) -> None:
        if self._start:
            data = self._start + data
            self._start = b""
        try:
            await carrier.write(data)
        except ConnectionLost:
            self._lost_writing(carrier)
        except StreamReset as error:
            self._write_failed(carrier, error)

    def _lost_writing(self, carrier: CarrierStream) -> None:
        if carrier is self._writer:
            self._no_writer()  # what was written is in the log

    def _write_failed(self, carrier: CarrierStream, error: StreamReset) -> None:
        if carrier is self._writer:
            self._end_writing(error)
            raise error

    def _end_writing(self, error: StreamReset) -> None:
        """The peer wants nothing more."""
        if self._write_error is None:
            self._write_error = error
            self._writable.set()  # a copy may wait for a carrier that will not come any more
            self.log.drop()
            self._wake_writers()
            self._settle()

    async def _wait_room(self) -> None:
        while self._write_error is None and not self.log.has_room:
            ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(partial(_set, ready))
            await ready
        if self._write_error is not None:
            raise self._write_error

    def has_room(self, wake: Callable[[], None]) -> bool:
        """Whether more may be sent; if not, ``wake`` is called when that is to be asked again."""
        if self._write_error is not None:
            raise self._write_error
        if self.log.has_room:
            return True
        self._room.append(wake)
        return False

    def _wake_writers(self) -> None:
        if self._room and (self.log.has_room or self._write_error is not None):
            waiting, self._room = self._room, []
            for wake in waiting:
                wake()

    async def finish(self) -> None:
        async with self._turn:
            if self.log.finished and self._write_error is None:
                return
            if self._resuming is not None and self._write_error is None and not self._torn:
                self.log.finish()  # passed on after what is sent again, for which the caller need not wait
                return
            await self._pass_on_end()

    async def _pass_on_end(self) -> None:
        if self._torn:
            await self._check_writing()  # at once: who sends again may take long
        async with self._writing:
            await self._check_writing()
            self.log.finish()
            carrier = self._writer
            if carrier is None:
                return
            if self._start:
                await self._write(carrier, b"")
            try:
                await carrier.finish()
            except ConnectionLost:
                self._lost_writing(carrier)
            except StreamReset as error:
                self._write_failed(carrier, error)

    # -- ending

    async def abort(self, code: int = 0) -> None:
        carrier = self._reader or self._writer
        if self._stopped is None and not self._read_end:
            self._stopped = code
            self._owner.arrived(self, 0)
        self.fail(StreamReset(code))
        self._owner.forget(self)
        if self._resuming is not None:
            self._resuming.cancel()  # the carrier cannot be reset while it is written to
        if carrier is not None:
            await carrier.abort(code)

    def _settle(self) -> None:
        reading = not self._read_end and self._stopped is None and self._read_error is None
        writing = self._write_error is None and not self.log.settled
        if not reading and not writing:
            self._owner.forget(self)

    # -- splice

    async def splice(
        self, sock: socket.socket, counters: SpliceCounters, ready: Coroutine[Any, Any, None] | None = None
    ) -> Exception | None:
        return await splice(
            self, sock, Copies(lambda: self._copy_up(sock, counters), lambda: self._copy_down(sock, counters)), ready
        )

    async def _copy_up(self, sock: socket.socket, counters: SpliceCounters) -> None:
        while not await self._copied_up(sock, counters):
            await self._writable.wait()
        await self.finish()

    async def _copied_up(self, sock: socket.socket, counters: SpliceCounters) -> bool:
        """Copy on the present carrier. False when there is none (any more)."""
        async with self._writing:
            if self._write_error is not None:
                raise self._write_error
            carrier = self._writer
            if carrier is None:
                return False
            if self._start:
                await self._write(carrier, b"")
                if carrier is not self._writer:
                    return False  # lost meanwhile; a copy that waits for its socket would not notice
            self._copying = KeepingTap(self.log, self.has_room, counters)
            try:
                await carrier.copy_from(sock, self._copying)
            except (ConnectionLost, StaleCopy):
                self._lost_writing(carrier)
                return False
            except StreamReset as error:
                self._write_failed(carrier, error)
                return False
            finally:
                self._copying = None
            return True


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
