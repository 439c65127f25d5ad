"""A session between two nodes: streams and datagrams that outlive the connections which carry them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import CarrierStream, ConnectionLost, Path, StreamReset, lost
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.frames import (
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
from irosh.transport.session.numbers import SeenNumbers
from irosh.transport.session.replay import ReplayBudget
from irosh.transport.session.stream import READ_AHEAD, SessionStream

log = logging.getLogger(__name__)

START_DEADLINE = 10.0
RESUME_DEADLINE = 20.0
OPEN_DEADLINE = 30.0
ACK_DELAY = 0.05  # seconds, for acknowledgements to gather
ACK_AFTER = 1024 * 1024  # bytes
RESUMING = 64  # streams resumed side by side
NOT_SERVED = 3


@dataclass(frozen=True)
class LinkEvent:
    """``lost``, ``retry`` (a dial that failed) or ``resumed``; ``gap``: seconds without the peer."""

    name: str
    error: IroshError | None = None
    gap: float = 0.0

    def fields(self) -> dict[str, object]:
        """As the event of a command."""
        error = {} if self.error is None else {"error": self.error.to_dict()}
        return {**error, "gap": round(self.gap, 3)} if self.name == "resumed" else dict(error)


Report = Callable[[LinkEvent], None]


@dataclass(frozen=True)
class Credentials:
    """What names a session, and what proves the right to go on with it."""

    session: bytes
    token: bytes = field(repr=False)


class Session:
    """The same on both sides, but for the numbers of the streams: the ``dialed`` side's are even."""

    def __init__(self, first: Carrier, settings: SessionSettings, *, dialed: bool) -> None:
        self.peer_id = first.connection.peer_id
        self.settings = settings
        self.credentials: Credentials | None = None
        self.resume_for = settings.resume_for
        self.since = time.time()
        self.reconnects = 0
        self.heard_at: float | None = None
        """When something last came from the peer, if somebody watches for that (``time.monotonic()``)."""
        self.reports: dict[Report, None] = {}
        """Called with each event of the link."""
        self.on_datagram: Callable[[bytes], None] = lambda _data: None
        self._carrier: Carrier | None = first
        self._budget = ReplayBudget(settings.replay_buffer, settings.replay_total)
        self._ack_after = ACK_AFTER
        self._streams: dict[int, SessionStream] = {}
        self._numbers = count(0 if dialed else 1, 2)
        self._seen = SeenNumbers(1 if dialed else 0)
        self._arrived: asyncio.Queue[SessionStream | None] = asyncio.Queue()
        self._due: dict[int, SessionStream] = {}
        self._ack_timer: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._limits: tuple[int, int] | None = None
        self._live_of_peer: set[int] = set()
        self._up = asyncio.Event()
        self._up.set()
        self._down = asyncio.Event()
        self._down_reason: ConnectionLost | None = None
        self._down_since = 0.0
        self._end: ConnectionLost | None = None
        self._ended = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    # -- life

    async def run(self) -> None:
        """Carry the session until it ends, then return. Cancelling ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                if self._carrier is not None:
                    group.create_task(self._serve(self._carrier))
                await self._ended.wait()
                raise _Ended
        except* _Ended:
            pass
        finally:
            self.close(IroshError(ErrorCode.SHUTTING_DOWN, "the other node has stopped"))

    def established(self, credentials: Credentials, *, resume_for: float, replay_buffer: int) -> None:
        """Both sides have agreed on how to go on after a loss; ``replay_buffer``: what the peer keeps of a stream."""
        self.credentials = credentials
        self.resume_for = min(self.settings.resume_for, max(0.0, resume_for))
        self._ack_after = max(16 * 1024, min(ACK_AFTER, replay_buffer // 8))

    async def attach(self, carrier: Carrier) -> None:
        """Go on over ``carrier``, which takes the place of the one before."""
        if self._end is not None:
            carrier.connection.close(self._end)
            return
        if (old := self._carrier) is not None:
            self._down_since = self.heard_at or time.monotonic()
            self._let_go(old)
            old.connection.close(moved=True)
        self.reconnects += 1
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._carrier = carrier
        self._live_of_peer.clear()
        if self._limits is not None:
            carrier.connection.allow_streams(self._limits[0], window=self._limits[1])
        ours = [stream for stream in self._streams.values() if stream.ours]
        carrier.send_live([stream.number for stream in ours])
        assert self._group is not None
        self._group.create_task(self._serve(carrier))
        self._group.create_task(self._resume_all(carrier, ours))
        self._down.clear()
        self._up.set()
        for stream in self._streams.values():
            if stream.received:
                self._due[stream.number] = stream
        self._send_acks()
        self.report(LinkEvent("resumed", gap=self.gap))

    def report(self, event: LinkEvent) -> None:
        """Tell those who watch."""
        for report in list(self.reports):
            report(event)

    @contextmanager
    def watched(self, report: Report) -> Iterator[None]:
        """Have ``report`` called with each event of the link while the context lasts."""
        self.reports[report] = None
        try:
            yield
        finally:
            self.reports.pop(report, None)

    async def wait_down(self) -> ConnectionLost:
        """Until the session has no carrier; why it lost the last one."""
        await self._down.wait()
        assert self._down_reason is not None
        return self._down_reason

    @property
    def is_down(self) -> bool:
        """Whether it waits for a carrier."""
        return self._carrier is None and self._end is None

    @property
    def gap(self) -> float:
        """Seconds since the last sign of life over the last carrier, or since that was lost."""
        return time.monotonic() - self._down_since

    @property
    def is_closed(self) -> bool:
        return self._end is not None

    def close_reason(self) -> ConnectionLost:
        """Why the session has ended, as an error to raise."""
        return self._end or lost("the session is closed")

    async def wait_closed(self) -> ConnectionLost:
        await self._ended.wait()
        return self.close_reason()

    def close(self, error: IroshError | None = None) -> None:
        """End the session at once; the peer learns why."""
        if self._end is None:
            if self._carrier is not None:
                self._carrier.connection.close(error)
            reason = lost("the connection was closed here")
            self.end(reason if error is None else ConnectionLost(error.code, error.message, error.hint))

    def end(self, reason: ConnectionLost) -> None:
        """The session is over."""
        if self._end is not None:
            return
        self._end = reason
        for timer in (self._ack_timer, self._expiry):
            if timer is not None:
                timer.cancel()
        carrier, self._carrier = self._carrier, None
        if carrier is not None and not carrier.connection.is_closed:
            carrier.connection.close(reason)
        for stream in list(self._streams.values()):
            stream.fail(reason)
        self._streams.clear()
        self._arrived.put_nowait(None)
        self._down_reason = self._down_reason or reason
        self._up.set()
        self._down.set()
        self._ended.set()

    # -- what it carries

    async def open_stream(self) -> SessionStream:
        """A new stream. ``ConnectionLost`` when the session has ended, or has been without a carrier for too long."""
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
        """The next stream that the peer opens. ``ConnectionLost`` once the session has ended."""
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

    def allow_streams(self, count: int, *, window: int) -> None:
        self._limits = (count, window)
        if self._carrier is not None:
            self._carrier.connection.allow_streams(count, window=window)

    def paths(self) -> list[Path]:
        """The network paths of the present carrier."""
        return self._carrier.connection.paths() if self._carrier is not None else []

    def streams(self) -> list[SessionStream]:
        """Those that live."""
        return list(self._streams.values())

    async def _some_carrier(self) -> Carrier:
        try:
            async with asyncio.timeout(OPEN_DEADLINE):
                while True:
                    if self._end is not None:
                        raise self._end
                    if self._carrier is not None:
                        return self._carrier
                    self._up.clear()
                    await self._up.wait()
        except TimeoutError:
            reason = self._down_reason
            raise ConnectionLost(
                ErrorCode.CONNECTION_LOST,
                f"the link to the peer is down for {self.gap:.0f} s{f': {reason.message}' if reason else ''}",
                "it goes on by itself once the peer answers",
            ) from None

    def _new_stream(self, number: int, *, ours: bool) -> SessionStream:
        stream = SessionStream(self, number, self._budget, ours=ours)
        self._streams[number] = stream
        return stream

    # -- for the streams

    def arrived(self, stream: SessionStream, size: int) -> None:
        """See :class:`irosh.transport.session.stream.StreamOwner`."""
        self._due[stream.number] = stream
        if stream.unacknowledged >= self._ack_after:
            self._send_acks()
        elif self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_DELAY, self._send_acks)

    def forget(self, stream: SessionStream) -> None:
        """See :class:`irosh.transport.session.stream.StreamOwner`."""
        self._streams.pop(stream.number, None)

    def _send_acks(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        due, self._due = self._due, {}
        if self._carrier is None:
            return
        for stream in due.values():
            stream.unacknowledged = 0
            ended = bool(stream.receive_state & ReceiveState.ENDED)
            self._carrier.acknowledge(stream.number, stream.received + ended)

    # -- for the carriers

    async def _serve(self, carrier: Carrier) -> None:
        try:
            reason = await carrier.serve(self)
        except IroshError as violation:
            carrier.connection.close(violation)
            reason = ConnectionLost(violation.code, violation.message, violation.hint)
            reason.deliberate = True
        except Exception:
            log.exception("%s: a carrier failed", self.peer_id[:10])
            carrier.connection.close(IroshError(ErrorCode.INTERNAL, "the other node failed"))
            reason = lost("the carrier failed")
        self._carrier_lost(carrier, reason)

    def _carrier_lost(self, carrier: Carrier, reason: ConnectionLost) -> None:
        if carrier is not self._carrier:
            return
        self._let_go(carrier)
        self._down_reason = reason
        if not carrier.connection.is_closed:
            carrier.connection.close(moved=True)
        if reason.deliberate or self.credentials is None or not self.resume_for:
            self.end(reason)
            return
        log.info("%s: %s; waiting for up to %.0f s", self.peer_id[:10], reason.message, self.resume_for)
        self._down_since = self.heard_at or time.monotonic()
        self._expiry = asyncio.get_running_loop().call_later(self.resume_for, self._expire, reason)
        self._up.clear()
        self._down.set()
        self.report(LinkEvent("lost", reason))

    def _let_go(self, carrier: Carrier) -> None:
        self._carrier = None
        for stream in self._streams.values():
            stream.detach()

    def _expire(self, reason: ConnectionLost) -> None:
        self.end(
            ConnectionLost(
                ErrorCode.CONNECTION_LOST,
                f"{reason.message}, and the peer was not back within {self.resume_for:.0f} s",
                reason.hint,
            )
        )

    def heard(self, carrier: Carrier, message: Control) -> None:
        """See :class:`irosh.transport.session.carrier.CarrierUser`."""
        if isinstance(message, Acks):
            for number, offset in message.streams:
                if (stream := self._streams.get(number)) is not None:
                    stream.acknowledge(offset)
        elif isinstance(message, Live):
            self._live_of_peer.update(message.streams)
            if message.complete:
                self._drop_ended()

    def _drop_ended(self) -> None:
        """End the peer's streams that it has no more."""
        live, self._live_of_peer = self._live_of_peer, set()
        for stream in self.streams():
            if not stream.ours and stream.number not in live and not stream.is_attached:
                stream.fail(StreamReset(0))
                self.forget(stream)

    def datagram(self, data: bytes) -> None:
        """See :class:`irosh.transport.session.carrier.CarrierUser`."""
        self.on_datagram(data)

    async def arrive(self, carrier: Carrier, raw: CarrierStream) -> None:
        """See :class:`irosh.transport.session.carrier.CarrierUser`."""
        try:
            async with asyncio.timeout(START_DEADLINE):
                data = await raw.read(READ_AHEAD)
                while 0 < len(data) < START_SIZE and (more := await raw.read(READ_AHEAD)):
                    data += more
            if len(data) < START_SIZE:
                return
            await self._arrived_as(carrier, raw, unpack_start(data[:START_SIZE]), data[START_SIZE:])
        except (IroshError, StreamReset, TimeoutError) as error:
            log.info("%s: a stream did not begin: %s", self.peer_id[:10], error)
            await raw.abort(NOT_SERVED)

    async def _arrived_as(self, carrier: Carrier, raw: CarrierStream, start: StreamStart, early: bytes) -> None:
        if carrier is not self._carrier:
            return
        if start.kind is StartKind.FRESH:
            if not self._seen.add(start.stream):
                raise IroshError(ErrorCode.PROTOCOL, f"stream number {start.stream} cannot be new")
            stream = self._new_stream(start.stream, ours=False)
            stream.carry(raw, early=early)
            self._arrived.put_nowait(stream)
            return
        known = self._streams.get(start.stream)
        if known is None and start.state & ReceiveState.UNSURE and self._seen.add(start.stream):
            known = self._new_stream(start.stream, ours=False)
            self._arrived.put_nowait(known)
        if known is None or known.ours:
            await raw.write(StreamResumed(known=False).pack())
            await raw.finish()
            await raw.stop()
            return
        known.detach()
        await raw.write(StreamResumed(True, known.received, known.receive_state).pack())
        await known.resume(raw, start.received, start.state)

    async def _resume_all(self, carrier: Carrier, streams: list[SessionStream]) -> None:
        places = asyncio.Semaphore(RESUMING)
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                await places.acquire()
                task = group.create_task(self._resume(carrier, stream))
                task.add_done_callback(lambda _: places.release())

    async def _resume(self, carrier: Carrier, stream: SessionStream) -> None:
        if carrier is not self._carrier or stream.number not in self._streams:
            return
        start = StreamStart(StartKind.RESUMED, stream.number, stream.received, stream.receive_state)
        try:
            async with asyncio.timeout(RESUME_DEADLINE):
                raw = await carrier.connection.open_stream()
                await raw.write(start.pack())
                answer = unpack_resumed(await raw.read_exactly(RESUMED_SIZE))
            if answer.known and stream.number in self._streams:
                await stream.resume(raw, answer.received, answer.state)
                return
            await raw.abort()
        except ConnectionLost:
            return  # the next carrier will do
        except (IroshError, StreamReset, EOFError, TimeoutError) as error:
            log.info("%s: stream %d cannot go on: %s", self.peer_id[:10], stream.number, error)
        stream.fail(StreamReset(0))
        self.forget(stream)


class _Ended(Exception):
    """Ends the tasks of a session."""
