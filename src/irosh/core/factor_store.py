"""Second factors in the state database: what is required of which peer, what it must match, and failed attempts.

A password is kept as its hash and a security key as its public half. The secret of TOTP codes has to be kept as it is:
whoever reads the database can make codes. The file's mode is all that guards it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

from irosh.core.database import Database, Row
from irosh.core.second_factor import Factor

NO_TOUCH, VERIFY = "no-touch", "verify"
CONDITIONS = frozenset({NO_TOUCH, VERIFY})
"""Of a security key: nobody need touch it; it must verify who does, by PIN or biometry."""
MAX_KEYS = 16
"""Security keys of one peer."""
FREE_ATTEMPTS = 2
"""Failures after which the next attempt has to wait; for twice as long after each further one."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 900.0
"""Seconds."""
ALL_ATTEMPTS, ALL_PERIOD = 100, 600.0
"""Failures of all peers together, in so many seconds, after which nobody's answers are looked at for a while."""


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a peer's answer must match."""

    factor: Factor
    id: str
    """For a security key its fingerprint, else empty: there is one."""
    value: str = field(repr=False)
    """A hash (PHC), a secret (base32), or a public key (a line)."""
    conditions: frozenset[str]
    """For a security key, of :data:`CONDITIONS`."""
    counter: int
    """What was used last: the TOTP step, or the counter of the security key."""
    set_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Failures:
    """The failed attempts of a peer in a row; ``wait``: seconds until the next one is looked at."""

    count: int
    wait: float


class FactorStore:
    """Every method raises ``IroshError`` as ``Database`` does."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def required(self, peer_id: str) -> tuple[Factor, ...]:
        """What is required of a peer, in the order in which it is asked for."""
        rows = self._database.query("SELECT required FROM factor_rules WHERE peer = ?", (peer_id,))
        return factors_from_text(str(rows[0][0])) if rows else ()

    def require(self, peer_id: str, factors: Iterable[Factor]) -> None:
        """Require exactly these from now on."""
        self._database.execute(
            "INSERT INTO factor_rules VALUES (?1, ?2) ON CONFLICT (peer) DO UPDATE SET required = ?2",
            (peer_id, factors_to_text(factors)),
        )

    def enrolments(self, peer_id: str) -> list[Enrolment]:
        """All of a peer."""
        rows = self._database.query(
            "SELECT kind, id, value, conditions, counter, set_at FROM factors WHERE peer = ? ORDER BY kind, id",
            (peer_id,),
        )
        return [_enrolment(row) for row in rows]

    def enrol(self, peer_id: str, factor: Factor, value: str, *, key: str = "", conditions: Iterable[str] = ()) -> None:
        """Set what answers must match: in place of what there is, but that a peer may have several security keys."""
        self._database.execute(
            "INSERT OR REPLACE INTO factors VALUES (?, ?, ?, ?, ?, 0, ?)",
            (peer_id, factor, key, value, " ".join(sorted(conditions)), self._clock()),
        )

    def forget(self, peer_id: str, factors: Iterable[Factor] = tuple(Factor)) -> None:
        """Remove what answers of these kinds must match."""
        for factor in factors:
            self._database.execute("DELETE FROM factors WHERE peer = ? AND kind = ?", (peer_id, factor))

    def forget_peer(self, peer_id: str) -> None:
        """Remove all there is about a peer."""
        self.forget(peer_id)
        self._database.execute("DELETE FROM factor_rules WHERE peer = ?", (peer_id,))
        self.unlock(peer_id)

    def use(self, peer_id: str, enrolment: Enrolment, counter: int) -> bool:
        """Note that ``counter`` was used, unless that or a later one was before, or the enrolment is another by now.

        Authenticators without a counter always say 0.
        """
        changed = self._database.execute(
            "UPDATE factors SET counter = ?1 WHERE peer = ?2 AND kind = ?3 AND id = ?4 AND set_at = ?5"
            " AND (counter < ?1 OR (?1 = 0 AND counter = 0))",
            (counter, peer_id, enrolment.factor, enrolment.id, enrolment.set_at),
        )
        return changed == 1

    # Failed attempts

    def failures(self, peer_id: str) -> Failures:
        """Those of a peer, since it last gave all that was required."""
        rows = self._database.query("SELECT failures, last FROM factor_failures WHERE peer = ?", (peer_id,))
        if not rows:
            return Failures(0, 0.0)
        count, last = cast("tuple[int, float]", rows[0])
        passed = self._clock() - last
        # A clock that was set back must not make the wait longer than it was meant to be.
        return Failures(count, min(wait_after(count), max(0.0, wait_after(count) - passed)))

    def all_wait(self) -> float:
        """Seconds for which nobody's answers are looked at, because of too many failures of all peers together."""
        since = self._clock() - ALL_PERIOD
        rows = self._database.query(
            "SELECT coalesce(sum(failures), 0), coalesce(min(last), 0) FROM factor_failures WHERE last > ?", (since,)
        )
        count, oldest = cast("tuple[int, float]", rows[0])
        return 0.0 if count < ALL_ATTEMPTS else max(1.0, min(ALL_PERIOD, oldest - since))

    def begin_attempt(self, peer_id: str) -> None:
        """Count an attempt as failed before it is looked at, so that ending the process does not make it free."""
        self._database.execute(
            "INSERT INTO factor_failures VALUES (?1, 1, ?2)"
            " ON CONFLICT (peer) DO UPDATE SET failures = failures + 1, last = ?2",
            (peer_id, self._clock()),
        )

    def withdraw_attempt(self, peer_id: str) -> None:
        """The attempt just begun was right, if not yet all that is required."""
        self._database.execute("UPDATE factor_failures SET failures = failures - 1 WHERE peer = ?", (peer_id,))

    def unlock(self, peer_id: str) -> None:
        """Forget a peer's failures."""
        self._database.execute("DELETE FROM factor_failures WHERE peer = ?", (peer_id,))


def wait_after(failures: int) -> float:
    """Seconds after so many failures in a row until the next attempt is looked at."""
    if failures <= FREE_ATTEMPTS:
        return 0.0
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (failures - FREE_ATTEMPTS - 1))


def factors_to_text(factors: Iterable[Factor]) -> str:
    """As the database stores them."""
    return " ".join(dict.fromkeys(factors))


def factors_from_text(text: str) -> tuple[Factor, ...]:
    """As :func:`factors_to_text` wrote them. ``ValueError`` for a word of a newer version: it must not be left out."""
    named = {Factor(word) for word in text.split()}
    return tuple(factor for factor in Factor if factor in named)


def _enrolment(row: Row) -> Enrolment:
    kind, key, value, conditions, counter, set_at = cast("tuple[str, str, str, str, int, float]", row)
    return Enrolment(Factor(kind), key, value, frozenset(conditions.split()), counter, set_at)
