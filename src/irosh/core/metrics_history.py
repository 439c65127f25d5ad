"""The last day of what was measured: one row for each peer and minute, pruned by age and number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import cast

from irosh.core.database import Database

KEPT_MINUTES = 24 * 60
MAX_ROWS = 200_000
"""With more peers than a day of minutes has room for, the oldest minutes go first. About 20 MB."""

_NUMBERS = (
    "samples, relayed, rtt_samples, rtt_sum, rtt_min, rtt_max, jitter_sum,"
    " bytes_sent, bytes_received, bytes_lost, path_changes, reconnects, up, down"
)
_ADD = f"""INSERT INTO metrics (minute, peer, {_NUMBERS}) VALUES (?, ?, {", ".join("?" * 14)})
    ON CONFLICT (minute, peer) DO UPDATE SET
        samples = samples + excluded.samples, relayed = relayed + excluded.relayed,
        rtt_min = CASE WHEN rtt_samples = 0 THEN excluded.rtt_min WHEN excluded.rtt_samples = 0 THEN rtt_min
            ELSE min(rtt_min, excluded.rtt_min) END,
        rtt_max = max(rtt_max, excluded.rtt_max),
        rtt_samples = rtt_samples + excluded.rtt_samples, rtt_sum = rtt_sum + excluded.rtt_sum,
        jitter_sum = jitter_sum + excluded.jitter_sum,
        bytes_sent = bytes_sent + excluded.bytes_sent, bytes_received = bytes_received + excluded.bytes_received,
        bytes_lost = bytes_lost + excluded.bytes_lost, path_changes = path_changes + excluded.path_changes,
        reconnects = reconnects + excluded.reconnects, up = up + excluded.up, down = down + excluded.down"""  # noqa: S608
_SELECT = f"SELECT minute, hex(peer), {_NUMBERS} FROM metrics"  # noqa: S608
_PRUNE_MANY = "DELETE FROM metrics WHERE minute <= (SELECT minute FROM metrics ORDER BY minute DESC LIMIT 1 OFFSET ?)"


@dataclass(slots=True)
class Period:
    """What was measured in a minute, or in several. Round trip times and jitter in microseconds, up and down in ms."""

    samples: int = 0
    relayed: int = 0
    """Of the samples."""
    rtt_samples: int = 0
    rtt_sum: int = 0
    rtt_min: int = 0
    rtt_max: int = 0
    jitter_sum: int = 0
    """Over the ``rtt_samples``, as is ``rtt_sum``."""
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_lost: int = 0
    path_changes: int = 0
    reconnects: int = 0
    up: int = 0
    down: int = 0

    def note_rtt(self, rtt: int, jitter: int) -> None:
        """One more round trip time."""
        self.rtt_min = rtt if not self.rtt_samples else min(self.rtt_min, rtt)
        self.rtt_max = max(self.rtt_max, rtt)
        self.rtt_samples += 1
        self.rtt_sum += rtt
        self.jitter_sum += jitter

    def merge(self, other: Period) -> None:
        """Add what ``other`` holds."""
        if other.rtt_samples:
            self.rtt_min = min(self.rtt_min, other.rtt_min) if self.rtt_samples else other.rtt_min
            self.rtt_max = max(self.rtt_max, other.rtt_max)
        self.samples += other.samples
        self.relayed += other.relayed
        self.rtt_samples += other.rtt_samples
        self.rtt_sum += other.rtt_sum
        self.jitter_sum += other.jitter_sum
        self.bytes_sent += other.bytes_sent
        self.bytes_received += other.bytes_received
        self.bytes_lost += other.bytes_lost
        self.path_changes += other.path_changes
        self.reconnects += other.reconnects
        self.up += other.up
        self.down += other.down

    @property
    def loss(self) -> float:
        """The fraction of the bytes sent that was lost."""
        return min(1.0, self.bytes_lost / self.bytes_sent) if self.bytes_sent else 0.0

    def to_dict(self, seconds: float) -> dict[str, object]:
        """The period, which took ``seconds``, as ``--json`` shows it."""
        measured = self.rtt_samples > 0
        return {
            "rtt_ms": round(self.rtt_sum / self.rtt_samples / 1000, 3) if measured else None,
            "rtt_min_ms": self.rtt_min / 1000 if measured else None,
            "rtt_max_ms": self.rtt_max / 1000 if measured else None,
            "jitter_ms": round(self.jitter_sum / self.rtt_samples / 1000, 3) if measured else None,
            "loss": round(self.loss, 6),
            "send_rate": round(self.bytes_sent / seconds),
            "receive_rate": round(self.bytes_received / seconds),
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "bytes_lost": self.bytes_lost,
            "relayed": round(self.relayed / self.samples, 3) if self.samples else 0.0,
            "path_changes": self.path_changes,
            "reconnects": self.reconnects,
            "up_seconds": self.up / 1000,
            "down_seconds": self.down / 1000,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """``minute``: since 1970."""

    minute: int
    peer_id: str
    period: Period


class MetricsHistory:
    """The table in the state database. Every method raises ``IroshError`` as ``Database`` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rows: Iterable[Row], now: int) -> None:
        """Add to what is known of these minutes, and forget what is older than a day. ``now``: the present minute."""
        with self._database.transaction():
            for row in rows:
                self._database.execute(_ADD, (row.minute, bytes.fromhex(row.peer_id), *astuple(row.period)))
            self._database.execute("DELETE FROM metrics WHERE minute <= ?", (now - KEPT_MINUTES,))
            self._database.execute(_PRUNE_MANY, (MAX_ROWS,))

    def rows(self, since: int, peer_id: str | None = None) -> list[Row]:
        """The minutes from ``since`` on, of one peer or of all; the oldest first."""
        found = self._database.query(
            f"{_SELECT} WHERE minute >= ?1 AND (?2 IS NULL OR peer = ?2) ORDER BY minute, peer",
            (since, None if peer_id is None else bytes.fromhex(peer_id)),
        )
        return [
            Row(cast("int", minute), cast("str", peer).lower(), Period(*cast("tuple[int, ...]", tuple(numbers))))
            for minute, peer, *numbers in found
        ]
