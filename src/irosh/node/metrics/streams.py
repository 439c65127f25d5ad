"""The open streams of one connection and what they are for, and what each service has moved so far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from irosh.transport.session.lifetime import CountedStream

MAX_DETAIL = 200
"""Characters kept of what a stream says it is for."""


@dataclass(slots=True)
class FlowCounters:
    """Bytes of the datagrams of one flow."""

    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class StreamUse:
    """An open stream. ``detail``: what its request says of itself; ``ours``: we opened it; ``since``: Unix time."""

    service: str
    detail: str
    ours: bool
    stream: CountedStream
    flow: FlowCounters
    flow_number: int | None = None
    since: float = field(default_factory=time.time)

    @property
    def sent(self) -> int:
        """Bytes, those of its datagrams included."""
        return self.stream.log.end + self.flow.sent

    @property
    def received(self) -> int:
        """Bytes, those of its datagrams included."""
        return self.stream.received + self.flow.received

    def to_dict(self) -> dict[str, Any]:
        """As ``irosh status --json`` shows it."""
        return {
            "service": self.service,
            "detail": self.detail,
            "opened_by": "us" if self.ours else "peer",
            "since": self.since,
            "bytes_sent": self.sent,
            "bytes_received": self.received,
            "bytes_kept": self.stream.log.kept,
        }


@dataclass(frozen=True, slots=True)
class ServiceTotals:
    """``opened``: streams; bytes each way."""

    opened: int = 0
    sent: int = 0
    received: int = 0

    def __add__(self, other: ServiceTotals) -> ServiceTotals:
        return ServiceTotals(self.opened + other.opened, self.sent + other.sent, self.received + other.received)


class StreamBook:
    """Holds a stream from when its service is known until the session forgets it, so no more than may be open."""

    def __init__(self) -> None:
        self._uses: dict[int, StreamUse] = {}
        self._flows: dict[int, FlowCounters] = {}
        self._ended: dict[str, ServiceTotals] = {}

    def opened(self, stream: CountedStream, service: str, request: Any, *, ours: bool) -> None:
        """``request`` is shown as what its ``summary`` says, if it has one; datagrams of its ``flow`` count as well."""
        detail = str(getattr(request, "summary", ""))[:MAX_DETAIL]
        number = getattr(request, "flow", None)
        flow = FlowCounters() if number is None else self.flow_began(number)
        self._uses[stream.number] = StreamUse(service, detail, ours, stream, flow, number)

    def forgotten(self, stream: CountedStream) -> None:
        """The session needs the stream no more."""
        use = self._uses.pop(stream.number, None)
        if use is not None:
            if use.flow_number is not None:
                self.flow_ended(use.flow_number)
            before = self._ended.get(use.service, ServiceTotals())
            self._ended[use.service] = before + ServiceTotals(1, use.sent, use.received)

    def flow_began(self, number: int) -> FlowCounters:
        """Count a flow's datagrams, until :meth:`flow_ended`."""
        return self._flows.setdefault(number, FlowCounters())

    def flow_ended(self, number: int) -> None:
        """Its stream keeps the counters."""
        self._flows.pop(number, None)

    def flow_moved(self, number: int, *, sent: int = 0, received: int = 0) -> None:
        """A datagram of a flow has gone or come."""
        if (flow := self._flows.get(number)) is not None:
            flow.sent += sent
            flow.received += received

    def uses(self) -> Iterator[StreamUse]:
        """The open streams, the oldest first."""
        return iter(list(self._uses.values()))

    def __len__(self) -> int:
        return len(self._uses)

    @property
    def kept(self) -> int:
        """Bytes of all open streams kept to be sent again."""
        return sum(use.stream.log.kept for use in self._uses.values())

    def totals(self) -> dict[str, ServiceTotals]:
        """By service, open and ended streams together."""
        found = dict(self._ended)
        for use in self._uses.values():
            found[use.service] = found.get(use.service, ServiceTotals()) + ServiceTotals(1, use.sent, use.received)
        return found
