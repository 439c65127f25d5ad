"""What is measured of one session: latency, throughput, loss, path changes, times up and down. Pure.

A sample is taken every few seconds. Round trip times are the engine's smoothed ones, in whole milliseconds; jitter is
their smoothed mean deviation, as RFC 3550 (6.4.1) has it for packets.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from irosh.transport.interfaces import Path, Traffic

WINDOW = 10.0  # seconds over which throughput is measured
LOSS_MEMORY = 10.0  # seconds after which what was lost counts for a third
LEAST_PAUSE = 0.9  # seconds between two samples
JITTER_GAIN = 1 / 16  # RFC 3550


@dataclass(frozen=True, slots=True)
class Totals:
    """What only grows. ``up`` and ``down``: seconds with and without a connection."""

    traffic: Traffic = field(default_factory=Traffic)
    path_changes: int = 0
    reconnects: int = 0
    up: float = 0.0
    down: float = 0.0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.traffic + other.traffic,
            self.path_changes + other.path_changes,
            self.reconnects + other.reconnects,
            self.up + other.up,
            self.down + other.down,
        )

    def __sub__(self, other: Totals) -> Totals:
        return Totals(
            self.traffic - other.traffic,
            self.path_changes - other.path_changes,
            self.reconnects - other.reconnects,
            self.up - other.up,
            self.down - other.down,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """What one sample saw. ``new``: since the one before. ``rtt`` and ``jitter`` in seconds; None without a path."""

    new: Totals
    rtt: float | None
    jitter: float
    relayed: bool


class Meter:
    """``began``: when the session did, by the clock of the ``now`` of :meth:`take`."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.totals = Totals()
        self.path = "none"
        """``direct``, ``relayed`` or ``none``."""
        self.rtt: float | None = None
        """Seconds; None without a path."""
        self.jitter = 0.0
        """Seconds."""
        self._last = -math.inf
        self._way: frozenset[tuple[bool, str]] | None = None
        self._way_rtt: float | None = None  # the last one on this path, to compare the next with
        self._window: deque[tuple[float, Traffic]] = deque([(began, Traffic())])
        self._recent_sent = self._recent_lost = 0.0

    def due(self, now: float) -> bool:
        """Whether the last sample is old enough to take another."""
        return now - self._last >= LEAST_PAUSE

    def take(self, now: float, paths: Sequence[Path], traffic: Traffic, reconnects: int, down: float) -> Sample:
        """One sample. ``reconnects`` and ``down`` (seconds): of the session so far."""
        selected = [path for path in paths if path.selected]
        fresh = traffic.packets_received > self.totals.traffic.packets_received
        changed = self._note_path(selected, fresh)
        down = max(self.totals.down, down)  # a gap that has ended the session is known no more
        up = max(self.totals.up, now - self.began - down)
        totals = Totals(traffic, self.totals.path_changes + changed, reconnects, up, down)
        new = totals - self.totals
        self._note_loss(now, new.traffic)
        self._last = now
        self.totals = totals
        self._window.append((now, traffic))
        while len(self._window) > 2 and self._window[1][0] <= now - WINDOW:
            self._window.popleft()
        return Sample(new, self.rtt, self.jitter, self.path == "relayed")

    @property
    def rates(self) -> tuple[float, float]:
        """Bytes a second sent and received, over the last seconds."""
        (first, before), (last, after) = self._window[0], self._window[-1]
        if last <= first:
            return 0.0, 0.0
        return (
            (after.bytes_sent - before.bytes_sent) / (last - first),
            (after.bytes_received - before.bytes_received) / (last - first),
        )

    @property
    def loss(self) -> float:
        """The fraction of the bytes sent lately that was lost."""
        return min(1.0, self._recent_lost / self._recent_sent) if self._recent_sent >= 1 else 0.0

    def _note_path(self, selected: Sequence[Path], fresh: bool) -> bool:
        """Whether other paths are in use than before. ``fresh``: packets came, so the time may be a new one."""
        if not selected:
            self.path, self.rtt = "none", None
            return False
        best = min(selected, key=lambda path: path.rtt)
        self.path = "relayed" if best.relayed else "direct"
        self.rtt = best.rtt
        way = frozenset((path.relayed, path.remote) for path in selected)
        changed = self._way is not None and way != self._way
        if changed:
            self._way_rtt = None  # that it takes another time is no jitter
        self._way = way
        if fresh:
            if self._way_rtt is not None:
                self.jitter += (abs(best.rtt - self._way_rtt) - self.jitter) * JITTER_GAIN
            self._way_rtt = best.rtt
        return changed

    def _note_loss(self, now: float, new: Traffic) -> None:
        kept = math.exp(min(0.0, self._last - now) / LOSS_MEMORY)
        self._recent_sent = self._recent_sent * kept + new.bytes_sent
        self._recent_lost = self._recent_lost * kept + new.bytes_lost
