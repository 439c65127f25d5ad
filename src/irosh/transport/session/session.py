"""A session between two nodes: streams and datagrams that outlive the connections which carry them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import CarrierStream, ConnectionLost, StreamReset, lost
from irosh.transport.session.beginning import read_start
from irosh.transport.session.carrier import Carrier, Place
from irosh.transport.session.frames import (
    NOTHING_WANTED,
    RESUMED_SIZE,
    START_SIZE,
    Acks,
    Control,
    Live,
    ReceiveState,
    StartKind,
    StreamResumed,
    StreamStart,
    unpack_resumed,
    unpack_start,
)
from irosh.transport.session.lifetime import CountedStream, Credentials, LinkEvent, Report, SessionLifetime
from irosh.transport.session.receiving import READ_AHEAD, ReceivingSide
from irosh.transport.session.stream import SessionStream
from irosh.transport.small import SmallQueue

__all__ = ["Credentials", "LinkEvent", "Report", "Session"]

log = logging.getLogger(__name__)

RESUME_DEADLINE = 20.0
ACK_DELAY = 0.05  # seconds, for acknowledgements to gather
ACK_RARELY = 0.4  # seconds while little waits for them, as when somebody types
ACK_LITTLE = 16 * 1024  # bytes of a stream
ACK_AFTER = 4 * 1024 * 1024  # bytes
RESUMING = 64  # streams between being named and the peer's answer
MAX_LIVE = 256 * 1024  # streams that a peer may name as living
MAX_WAITING = 16 * 1024  # streams of a peer that nobody has taken yet
MAX_EARLY = 4096  # streams that are not wanted, but have not arrived
NOT_SERVED = 3
_OVER = ReceiveState.ENDED | ReceiveState.STOPPED


class Session(SessionLifetime):
    """Carried by one connection at a time, the best that the engine finds."""

    def __init__(self, first: Carrier, settings: SessionSettings, *, dialed: bool) -> None:
        super().__init__(first, settings, dialed=dialed)
        self._carrier: Carrier | None = first
        self._ack_after = ACK_AFTER
        self._streams: dict[int, SessionStream] = {}
        self._arrived: SmallQueue[SessionStream | None] = SmallQueue()
        self._due: dict[int, ReceivingSide] = {}
        self._ack_timer: asyncio.TimerHandle | None = None
        self._live_of_peer: set[int] = set()
        self._unwanted_early: dict[int, None] = {}

    # -- life

    def _start(self, group: asyncio.TaskGroup) -> None:
        if self._carrier is not None:
            group.create_task(self._serve(self._carrier))

    def carriers(self) -> list[Carrier]:
        return [] if self._carrier is None else [self._carrier]

    def established(self, credentials: Credentials, *, resume_for: float, replay_buffer: int) -> None:
        super().established(credentials, resume_for=resume_for, replay_buffer=replay_buffer)
        self._ack_after = max(16 * 1024, min(ACK_AFTER, replay_buffer // 4))

    async def attach(self, carrier: Carrier) -> None:
        if self._end is not None:
            carrier.connection.close(self._end)
            return
        if (old := self._carrier) is not None:
            self._down_since = self._last_life()
            self._let_go(old)
            old.connection.close(moved=True)
        self.reconnects += 1
        self._carrier = carrier
        self._live_of_peer.clear()
        self._unwanted_early.clear()
        if self._limits is not None:
            carrier.connection.allow_streams(self._limits[0], window=self._limits[1])
        ours = [stream for stream in self._streams.values() if stream.ours]
        carrier.send_live([stream.number for stream in ours])
        assert self._group is not None
        self._group.create_task(self._serve(carrier))
        self._group.create_task(self._resume_all(carrier, ours))
        self._is_up()
        for stream in self._streams.values():
            if stream.received:
                self._due[stream.number] = stream
        self._send_acks()
        self.report(LinkEvent("resumed", gap=self.gap))

    def _release(self, reason: ConnectionLost) -> None:
        self._carrier = None
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        for stream in list(self._streams.values()):
            stream.fail(reason)
        self._streams.clear()
        self._due.clear()
        self._arrived.put_nowait(None)

    # -- what it carries

    async def open_stream(self) -> SessionStream:
        while True:
            carrier = await self._some_carrier()
            try:
                raw = await carrier.connection.open_stream()
            except ConnectionLost as error:
                if self._end is not None:
                    raise self._end from None
                if self.credentials is None:
                    raise error from None
                self._carrier_lost(carrier, error)
                continue
            if carrier is not self._carrier:
                await raw.abort()
                continue
            stream = self._new_stream(next(self._numbers), ours=True)
            stream.carry(raw, start=StreamStart(StartKind.FRESH, stream.number).pack())
            return stream

    async def accept_stream(self) -> SessionStream:
        stream = await self._arrived.get()
        if stream is None:
            self._arrived.put_nowait(None)
            raise self.close_reason()
        return stream

    @property
    def max_datagram_size(self) -> int:
        return self._carrier.connection.max_datagram_size if self._carrier is not None else 0

    def send_datagram(self, data: bytes) -> bool:
        return self._carrier is not None and self._carrier.connection.send_datagram(data)

    def streams(self) -> list[SessionStream]:
        """Those that live."""
        return list(self._streams.values())

    def holds(self, stream: CountedStream) -> bool:
        return stream.number in self._streams

    async def _some_carrier(self) -> Carrier:
        while self._carrier is None:
            await self._wait_up()
        return self._carrier

    def _new_stream(self, number: int, *, ours: bool) -> SessionStream:
        stream = SessionStream(self, number, self._budget, ours=ours)
        self._streams[number] = stream
        return stream

    # -- for the streams

    def arrived(self, stream: ReceivingSide, size: int) -> None:
        """See :class:`irosh.transport.session.receiving.Acknowledger`."""
        self._due[stream.number] = stream
        if stream.unacknowledged >= self._ack_after:
            self._send_acks()
        else:
            little = stream.unacknowledged < ACK_LITTLE and not stream.receive_state & _OVER
            self._acks_within(ACK_RARELY if little else ACK_DELAY)

    def _acks_within(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if self._ack_timer is not None:
            if self._ack_timer.when() <= loop.time() + seconds:
                return
            self._ack_timer.cancel()
        self._ack_timer = loop.call_later(seconds, self._send_acks)

    def forget(self, stream: SessionStream) -> None:
        """See :class:`irosh.transport.session.stream.StreamOwner`."""
        if self._streams.pop(stream.number, None) is not None:
            self.on_forgotten(stream)

    def _send_acks(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        due, self._due = self._due, {}
        if self._carrier is None:
            return
        for stream in due.values():
            stream.unacknowledged = 0
            state = stream.receive_state
            offset = stream.received + bool(state & ReceiveState.ENDED)
            self._carrier.acknowledge(stream.number, NOTHING_WANTED if state & ReceiveState.STOPPED else offset)

    # -- for the carriers

    async def _serve(self, carrier: Carrier) -> None:
        self._carrier_lost(carrier, await self._carried(carrier))

    def _carrier_lost(self, carrier: Carrier, reason: ConnectionLost) -> None:
        if carrier is not self._carrier:
            return
        self._let_go(carrier)
        if not carrier.connection.is_closed:
            carrier.connection.close(moved=True)
        self._is_down(reason)

    def _let_go(self, carrier: Carrier) -> None:
        self._carrier = None
        self._past += carrier.connection.traffic()
        for stream in self._streams.values():
            stream.detach()

    def heard(self, carrier: Carrier, message: Control) -> None:
        """See :class:`irosh.transport.session.carrier.CarrierUser`."""
        if isinstance(message, Acks):
            for number, offset in message.streams:
                if (stream := self._streams.get(number)) is not None:
                    stream.unwanted() if offset == NOTHING_WANTED else stream.acknowledge(offset)
                elif offset == NOTHING_WANTED and self._seen.may_come(number):
                    self._unwanted(number)
        elif isinstance(message, Live) and carrier is self._carrier:
            self._live_of_peer.update(message.streams)
            if len(self._live_of_peer) > MAX_LIVE:
                raise IroshError(ErrorCode.PROTOCOL, "the peer names too many streams")
            if message.complete:
                self._drop_ended()

    def _unwanted(self, number: int) -> None:
        """Of a stream that is under way: streams do not wait for one another."""
        self._unwanted_early[number] = None
        if len(self._unwanted_early) > MAX_EARLY:
            del self._unwanted_early[next(iter(self._unwanted_early))]

    def _drop_ended(self) -> None:
        """End the peer's streams that it has no more."""
        live, self._live_of_peer = self._live_of_peer, set()
        for stream in self.streams():
            if not stream.ours and stream.number not in live and not stream.is_attached:
                stream.fail(StreamReset(0))
                self.forget(stream)

    async def arrive(self, carrier: Carrier, stream: CarrierStream, known: Callable[[], None]) -> None:
        """See :class:`irosh.transport.session.carrier.CarrierUser`."""
        try:
            data = await read_start(stream, READ_AHEAD)
            if len(data) < START_SIZE:
                raise IroshError(ErrorCode.PROTOCOL, "it ended before it had begun")
            start = unpack_start(data[:START_SIZE])
            if start.kind is StartKind.LANE:
                raise IroshError(ErrorCode.PROTOCOL, "a lane, in a session with one carrier")
            if carrier is not self._carrier:
                return
            if start.kind is StartKind.FRESH:
                self._arrived_fresh(stream, start, data[START_SIZE:])
            else:
                await self._arrived_again(carrier, stream, start, known)
        except (IroshError, StreamReset, TimeoutError) as error:
            log.info("%s: a stream did not begin: %s", self.peer_id[:10], error)
            await stream.abort(NOT_SERVED)

    def _arrived_fresh(self, raw: CarrierStream, start: StreamStart, early: bytes) -> None:
        if not self._seen.add(start.stream):
            raise IroshError(ErrorCode.PROTOCOL, f"stream number {start.stream} cannot be new")
        stream = self._new_of_peer(start.stream)
        stream.carry(raw, early=early)

    def _new_of_peer(self, number: int) -> SessionStream:
        if self._arrived.qsize() >= MAX_WAITING:
            raise IroshError(ErrorCode.BUSY, f"{MAX_WAITING} streams wait to be served")
        stream = self._new_stream(number, ours=False)
        self._arrived.put_nowait(stream)
        if number in self._unwanted_early:
            del self._unwanted_early[number]
            stream.unwanted()
        return stream

    async def _arrived_again(
        self, carrier: Carrier, raw: CarrierStream, start: StreamStart, identified: Callable[[], None]
    ) -> None:
        known = self._streams.get(start.stream)
        if known is None and start.state & ReceiveState.UNSURE and self._seen.add(start.stream):
            known = self._new_of_peer(start.stream)
        if known is None or known.ours:
            await raw.write(StreamResumed(known=False).pack())
            await raw.finish()
            await raw.stop()
            return
        known.detach()
        await raw.write(StreamResumed(True, known.received, known.receive_state).pack())
        identified()  # what is not read yet must not keep others from arriving
        if carrier is self._carrier:
            await known.resume(raw, start.received, start.state)

    async def _resume_all(self, carrier: Carrier, streams: list[SessionStream]) -> None:
        places = asyncio.Semaphore(RESUMING)
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                await places.acquire()
                place = Place(places)
                task = group.create_task(self._resume(carrier, stream, place.leave))
                task.add_done_callback(lambda _, place=place: place.leave())  # type: ignore[misc]

    async def _resume(self, carrier: Carrier, stream: SessionStream, answered: Callable[[], None]) -> None:
        if carrier is not self._carrier:
            return
        # The peer has been told that it lives. If it has ended since, that is to be told too.
        state = stream.receive_state if stream.number in self._streams else ReceiveState.STOPPED
        start = StreamStart(StartKind.RESUMED, stream.number, stream.received, state)
        try:
            async with asyncio.timeout(RESUME_DEADLINE):
                raw = await carrier.connection.open_stream()
                await raw.write(start.pack())
                answer = unpack_resumed(await raw.read_exactly(RESUMED_SIZE))
            answered()  # what the peer does not read yet must not keep the others waiting
            if carrier is not self._carrier:
                return
            if answer.known and stream.number in self._streams:
                await stream.resume(raw, answer.received, answer.state)
                return
            carrier.acknowledge(stream.number, NOTHING_WANTED)
            await raw.abort()
        except ConnectionLost:
            return  # the next carrier will do
        except TimeoutError:
            self._carrier_lost(carrier, lost("the peer does not answer"))  # the stream may go on over the next
            return
        except (IroshError, StreamReset, EOFError) as error:
            log.info("%s: stream %d cannot go on: %s", self.peer_id[:10], stream.number, error)
        stream.fail(StreamReset(0))
        self.forget(stream)
