"""The audit: who was accepted or refused, and what was used. Bounded: no peer can fill the disk with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

from irosh.core.database import Database
from irosh.core.wording import escape

Outcome = Literal["accepted", "refused", "used", "closed", "changed"]

MAX_REFUSED = 25_000
"""Entries kept of refusals. Counted apart, so that a flood of them cannot push out what peers did."""
MAX_OTHER = 75_000
"""Entries kept of everything else."""
PRUNE_EVERY = 1_000
"""Entries after which the oldest are removed; the limits may be exceeded by this many per process."""

MAX_EVENT = 64
MAX_PEER = 64
MAX_DETAIL = 400
"""Characters kept of an entry's texts, after control characters were escaped."""


_PRUNE_REFUSED = """DELETE FROM audit WHERE outcome = 'refused' AND number <=
    (SELECT number FROM audit WHERE outcome = 'refused' ORDER BY number DESC LIMIT 1 OFFSET ?)"""
_PRUNE_OTHER = """DELETE FROM audit WHERE outcome <> 'refused' AND number <=
    (SELECT number FROM audit WHERE outcome <> 'refused' ORDER BY number DESC LIMIT 1 OFFSET ?)"""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that happened. ``number`` grows with each entry; ``time`` is in Unix seconds."""

    number: int
    time: float
    event: str
    peer_id: str | None
    outcome: Outcome
    detail: str

    def to_dict(self) -> dict[str, object]:
        """The entry as ``--json`` shows it."""
        return {
            "number": self.number,
            "time": self.time,
            "event": self.event,
            "peer": self.peer_id,
            "outcome": self.outcome,
            "detail": self.detail,
        }


class AuditLog:
    """The audit's entries in the state database. Every method raises ``IroshError`` as ``Database`` does."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock
        # What is left over from processes that ended before they had written enough to prune.
        self._until_prune = 0

    def add(self, event: str, peer_id: str | None, outcome: Outcome, detail: str) -> None:
        """Append one entry. Texts are escaped and cut to their limits."""
        self._database.execute(
            "INSERT INTO audit (time, event, peer, outcome, detail) VALUES (?, ?, ?, ?, ?)",
            (
                self._clock(),
                _bounded(event, MAX_EVENT),
                None if peer_id is None else _bounded(peer_id, MAX_PEER),
                outcome,
                _bounded(detail, MAX_DETAIL),
            ),
        )
        self._until_prune -= 1
        if self._until_prune < 0:
            self._until_prune = PRUNE_EVERY
            self._database.execute(_PRUNE_REFUSED, (MAX_REFUSED,))
            self._database.execute(_PRUNE_OTHER, (MAX_OTHER,))

    def entries(self, limit: int, peer_id: str | None, since: float | None) -> list[AuditEntry]:
        """The newest ``limit`` entries, the oldest of them first; of one peer, and not before ``since``."""
        rows = self._database.query(
            "SELECT number, time, event, peer, outcome, detail FROM audit"
            " WHERE (?1 IS NULL OR peer = ?1) AND (?2 IS NULL OR time >= ?2)"
            " ORDER BY number DESC LIMIT ?3",
            (peer_id, since, max(0, limit)),
        )
        return [AuditEntry(*cast("tuple[int, float, str, str | None, Outcome, str]", row)) for row in reversed(rows)]


def _bounded(text: str, limit: int) -> str:
    # Nearly every text is short and printable: escaping it is the larger part of the work otherwise.
    return text if len(text) <= limit and text.isprintable() and "\\" not in text else escape(text, limit)
