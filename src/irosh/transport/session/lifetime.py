"""What every session is, however its streams are carried: it lives until it ends, and waits for carriers meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.paths import Paths
from irosh.core.session_settings import SessionSettings
from irosh.transport.interfaces import CarrierStream, ConnectionLost, Path, Stream, Traffic, lost
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.frames import Control
from irosh.transport.session.numbers import SeenNumbers
from irosh.transport.session.replay import ReplayBudget, ReplayLog
from irosh.transport.small import SmallEvent

log = logging.getLogger(__name__)

OPEN_DEADLINE = 30.0


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


class CountedStream(Stream, Protocol):
    """A stream of a session. ``ours``: this side opened it."""

    number: int
    ours: bool

    @property
    def received(self) -> int:
        """Bytes that have arrived."""

    @property
    def log(self) -> ReplayLog:
        """What was sent."""


class SessionLifetime(ABC):
    """The same on both sides, but for the numbers of the streams: the ``dialed`` side's are even."""

    uses = Paths.FASTEST
    """How it uses networks."""

    def __init__(self, first: Carrier, settings: SessionSettings, *, dialed: bool) -> None:
        self.peer_id = first.connection.peer_id
        self.settings = settings
        self.credentials: Credentials | None = None
        self.resume_for = settings.resume_for
        self.since = time.time()
        self.reconnects = 0
        self.heard_at: float | None = None
        """When something last came from the peer, if somebody watches for that; by the event loop's clock."""
        self.reports: dict[Report, None] = {}
        """Called with each event of the link."""
        self.on_datagram: Callable[[bytes], None] = lambda _data: None
        self.on_forgotten: Callable[[CountedStream], None] = lambda _stream: None
        """Called with each stream that needs the session no more; its counters stand."""
        self._past = Traffic()  # of the carriers that are gone
        self._budget = ReplayBudget(settings.replay_buffer, settings.replay_total)
        self._numbers = count(0 if dialed else 1, 2)
        self._seen = SeenNumbers(1 if dialed else 0)
        self._expiry: asyncio.TimerHandle | None = None
        self._limits: tuple[int, int] | None = None
        self._up = SmallEvent()
        self._up.set()
        self._down = SmallEvent()
        self._down_reason: ConnectionLost | None = None
        self._clock = asyncio.get_running_loop().time
        self._down_since = 0.0
        self._end: ConnectionLost | None = None
        self._ended = SmallEvent()
        self._group: asyncio.TaskGroup | None = None

    def share_memory(self, other: SessionLifetime) -> None:
        """Keep no more than what ``other``, of the same peer, may keep, together with it. Before any stream is."""
        self._budget = other._budget

    # -- what it carries

    @abstractmethod
    async def open_stream(self) -> CountedStream:
        """A new stream. ``ConnectionLost`` when the session has ended, or has been without a carrier for too long."""

    @abstractmethod
    async def accept_stream(self) -> CountedStream:
        """The next stream that the peer opens. ``ConnectionLost`` once the session has ended."""

    @property
    @abstractmethod
    def max_datagram_size(self) -> int:
        """Largest datagram payload now, in bytes; 0 when there is no way for any."""

    @abstractmethod
    def send_datagram(self, data: bytes) -> bool:
        """Send one datagram, unreliably. False when it was dropped here."""

    @abstractmethod
    async def attach(self, carrier: Carrier) -> None:
        """Go on over ``carrier``, which takes the place of those before."""

    @abstractmethod
    def carriers(self) -> list[Carrier]:
        """Those that carry the session now, the best one first."""

    @abstractmethod
    def _start(self, group: asyncio.TaskGroup) -> None:
        """Serve the first carrier."""

    @abstractmethod
    def _release(self, reason: ConnectionLost) -> None:
        """The session has ended: fail its streams, forget its carriers, which are closed."""

    def allow_streams(self, count: int, *, window: int) -> None:
        """See :meth:`irosh.transport.interfaces.Connection.allow_streams`; for each carrier."""
        self._limits = (count, window)
        for carrier in self.carriers():
            carrier.connection.allow_streams(count, window=window)

    def paths(self) -> list[Path]:
        """The network paths of the carriers."""
        return [path for carrier in self.carriers() for path in carrier.connection.paths()]

    def traffic(self) -> Traffic:
        """What all carriers together have moved."""
        return sum((carrier.connection.traffic() for carrier in self.carriers()), self._past)

    @abstractmethod
    def holds(self, stream: CountedStream) -> bool:
        """Whether the stream still needs the session."""

    # -- for the carriers: see irosh.transport.session.carrier.CarrierUser

    @abstractmethod
    def heard(self, carrier: Carrier, message: Control) -> None: ...

    @abstractmethod
    async def arrive(self, carrier: Carrier, stream: CarrierStream, known: Callable[[], None]) -> None: ...

    def datagram(self, data: bytes) -> None:
        self.on_datagram(data)

    # -- life

    async def run(self) -> None:
        """Carry the session until it ends, then return. Cancelling ends it."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._start(group)
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
        return self._end is None and not self.carriers()

    @property
    def gap(self) -> float:
        """Seconds since the last sign of life over the last carrier, or since that was lost."""
        return self._clock() - self._down_since

    @property
    def unacknowledged(self) -> int:
        """Bytes sent that the peer has not acknowledged."""
        return self._budget.used

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
            for carrier in self.carriers():
                carrier.connection.close(error)
            reason = lost("the connection was closed here")
            self.end(reason if error is None else ConnectionLost(error.code, error.message, error.hint))

    def end(self, reason: ConnectionLost) -> None:
        """The session is over."""
        if self._end is not None:
            return
        carriers = self.carriers()
        self._end = reason
        if self._expiry is not None:
            self._expiry.cancel()
        for carrier in carriers:
            self._past += carrier.connection.traffic()
            if not carrier.connection.is_closed:
                carrier.connection.close(reason)
        self._release(reason)
        self._down_reason = self._down_reason or reason
        self._up.set()
        self._down.set()
        self._ended.set()

    # -- for those that derive from it

    async def _wait_up(self) -> None:
        """Until there is a carrier. ``ConnectionLost`` when the session ends, or none comes for too long."""
        try:
            async with asyncio.timeout(OPEN_DEADLINE):
                while True:
                    if self._end is not None:
                        raise self._end
                    if not self.is_down:
                        return
                    self._up.clear()
                    await self._up.wait()
        except TimeoutError:
            reason = self._down_reason
            raise ConnectionLost(
                ErrorCode.CONNECTION_LOST,
                f"the link to the peer is down for {self.gap:.0f} s{f': {reason.message}' if reason else ''}",
                "it goes on by itself once the peer answers",
            ) from None

    def _is_up(self) -> None:
        """There is a carrier again."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self._down.clear()
        self._up.set()

    def _is_down(self, reason: ConnectionLost) -> None:
        """The last carrier is gone: the session ends, or waits for the next one."""
        self._down_reason = reason
        if reason.deliberate or self.credentials is None or not self.resume_for:
            self.end(reason)
            return
        log.info("%s: %s; waiting for up to %.0f s", self.peer_id[:10], reason.message, self.resume_for)
        self._down_since = self._last_life()
        self._expiry = asyncio.get_running_loop().call_later(self.resume_for, self._expire, reason)
        self._up.clear()
        self._down.set()
        self.report(LinkEvent("lost", reason))

    def _last_life(self) -> float:
        return self._clock() if self.heard_at is None else self.heard_at

    def _expire(self, reason: ConnectionLost) -> None:
        self.end(
            ConnectionLost(
                ErrorCode.CONNECTION_LOST,
                f"{reason.message}, and the peer was not back within {self.resume_for:.0f} s",
                reason.hint,
            )
        )

    async def _carried(self, carrier: Carrier) -> ConnectionLost:
        """Serve ``carrier`` until it is lost, and say why."""
        try:
            return await carrier.serve(self)
        except IroshError as violation:
            return self._broken(carrier, violation)
        except Exception:
            log.exception("%s: a carrier failed", self.peer_id[:10])
            carrier.connection.close(IroshError(ErrorCode.INTERNAL, "the other node failed"))
            return lost("the carrier failed")

    def _broken(self, carrier: Carrier, violation: IroshError) -> ConnectionLost:
        """The peer broke the protocol: close ``carrier``, and end the session for that reason."""
        carrier.connection.close(violation)
        reason = ConnectionLost(violation.code, violation.message, violation.hint)
        reason.deliberate = True
        return reason


class _Ended(Exception):
    """Ends the tasks of a session."""
