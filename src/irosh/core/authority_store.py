"""Certificate authorities that a host trusts, in the state database, and the certificates it does not take any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, cast

from irosh.core.capability import Capability
from irosh.core.database import Database
from irosh.core.peer import capabilities_from_text, capabilities_to_text

Revoked = Literal["serial", "key-id"]

_Row = tuple[str, str, str, str | None, str, float]


@dataclass(frozen=True, slots=True)
class Authority:
    """One certificate authority."""

    fingerprint: str
    """As ``ssh-keygen -l`` shows it."""
    line: str
    """Its public key, without comment."""
    comment: str
    principals: str | None
    """Patterns between commas, of which a certificate must name one; None: the user that the host runs as."""
    capabilities: tuple[Capability, ...]
    added_at: float

    def to_dict(self) -> dict[str, object]:
        """The authority as ``--json`` shows it."""
        return {
            "fingerprint": self.fingerprint,
            "key": self.line,
            "comment": self.comment,
            "principals": self.principals,
            "capabilities": [str(capability) for capability in self.capabilities],
            "added_at": self.added_at,
        }


class AuthorityStore:
    """Every method raises ``IroshError`` as ``Database`` does."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def trust(
        self, fingerprint: str, line: str, comment: str, principals: str | None, capabilities: Iterable[Capability]
    ) -> None:
        """Trust an authority, or change what it may grant."""
        self._database.execute(
            "INSERT OR REPLACE INTO authorities VALUES (?, ?, ?, ?, ?, ?)",
            (fingerprint, line, comment, principals, capabilities_to_text(capabilities), self._clock()),
        )

    def get(self, fingerprint: str) -> Authority | None:
        """The authority with this key, if it is trusted."""
        return next((each for each in self.all() if each.fingerprint == fingerprint), None)

    def all(self) -> list[Authority]:
        """All that are trusted."""
        rows = self._database.query(
            "SELECT fingerprint, line, comment, principals, capabilities, added_at FROM authorities ORDER BY added_at"
        )
        found = []
        for row in rows:
            key, line, comment, principals, granted, added_at = cast(_Row, row)
            found.append(Authority(key, line, comment, principals, capabilities_from_text(granted), added_at))
        return found

    def remove(self, fingerprint: str) -> None:
        """Do not trust an authority any more. What was revoked of its certificates stays so."""
        self._database.execute("DELETE FROM authorities WHERE fingerprint = ?", (fingerprint,))

    def revoke(self, kind: Revoked, value: str, authority: str) -> None:
        """Take no certificate of the authority with this serial number or key id any more."""
        self._database.execute(
            "INSERT OR IGNORE INTO revoked_certificates VALUES (?, ?, ?, ?)", (authority, kind, value, self._clock())
        )

    def is_revoked(self, serial: int, key_id: str, authority: str) -> bool:
        """Whether such a certificate is not taken any more."""
        rows = self._database.query(
            "SELECT 1 FROM revoked_certificates WHERE authority = ?"
            " AND ((kind = 'serial' AND value = ?) OR (kind = 'key-id' AND value = ?)) LIMIT 1",
            (authority, str(serial), key_id),
        )
        return bool(rows)

    def revocations(self) -> list[tuple[str, str, str]]:
        """Authority, kind and value of all that was revoked."""
        rows = self._database.query("SELECT authority, kind, value FROM revoked_certificates")
        return sorted(cast("list[tuple[str, str, str]]", rows))
