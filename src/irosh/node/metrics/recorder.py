"""Keeps the history of what is measured. A full or failing disk is reported, once in a while, but stops nothing."""

from __future__ import annotations

import logging
import time

from irosh.core.errors import IroshError
from irosh.core.metrics_history import MetricsHistory, Period, Row
from irosh.node.metrics.meter import Sample

log = logging.getLogger(__name__)

_REPORT_EVERY = 600.0


class Recorder:
    """Gathers samples by peer and minute, and writes a minute once it is over."""

    def __init__(self, history: MetricsHistory) -> None:
        self._history = history
        self._pending: dict[tuple[int, str], Period] = {}
        self._reported = float("-inf")
        self.lost_rows = 0

    def note(self, peer_id: str, sample: Sample) -> None:
        """Count a sample in the present minute."""
        period = self._pending.setdefault((_minute(), peer_id), Period())
        new = sample.new
        period.samples += 1
        period.relayed += sample.relayed
        if sample.rtt is not None:
            period.note_rtt(round(sample.rtt * 1e6), round(sample.jitter * 1e6))
        period.bytes_sent += new.traffic.bytes_sent
        period.bytes_received += new.traffic.bytes_received
        period.bytes_lost += new.traffic.bytes_lost
        period.path_changes += new.path_changes
        period.reconnects += new.reconnects
        period.up += round(new.up * 1000)
        period.down += round(new.down * 1000)

    @property
    def has_pending(self) -> bool:
        """Whether something is still to be written."""
        return bool(self._pending)

    def write(self, *, present: bool = False) -> None:
        """Write what is over, and with ``present`` also the present minute so far. Never raises."""
        now = _minute()
        rows = [Row(*key, period) for key, period in self._pending.items() if present or key[0] != now]
        if not rows:
            return
        for row in rows:
            del self._pending[row.minute, row.peer_id]
        try:
            self._history.add(rows, now)
        except IroshError as error:
            self.lost_rows += len(rows)
            if time.monotonic() - self._reported > _REPORT_EVERY:
                self._reported = time.monotonic()
                log.error("the history of the metrics cannot be written (%d rows lost): %s", self.lost_rows, error)


def _minute() -> int:
    return int(time.time() // 60)
