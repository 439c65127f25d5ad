"""Machines that have an ordinary SSH server only, as gateways among the peers showed them: what this node remembers.

A gateway is believed as far as itself goes: each name leads through the gateway that showed it, and nowhere else. It
may show anything, so what is kept is bounded, and has plain characters only, by
:func:`~irosh.core.gateway_list.check_entry`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import cast

from irosh.core.database import Database, Row
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.gateway_list import checked_entries, list_digest
from irosh.core.hops import GATEWAY_SEPARATOR, gateway_name

MAX_KEPT = 1024
"""Machines of one gateway that are remembered, the first by name."""

_SELECT = """SELECT name, gateway, petname, url, shown_at
    FROM machines JOIN gateways ON gateways.peer = gateway JOIN peers ON peers.id = gateway
    WHERE NOT revoked AND NOT blocked AND coalesce(expires_at > ?, TRUE)"""


@dataclass(frozen=True, slots=True)
class Machine:
    """One such machine. ``gateway`` is the petname of the peer that showed it."""

    name: str
    gateway_id: str
    gateway: str
    url: str
    shown_at: float
    """When the gateway showed it last, in Unix seconds."""
    unique: bool
    """Whether its name alone means it: no peer has it, and no other gateway shows it."""

    @property
    def full_name(self) -> str:
        """The name that means it in any case."""
        return f"{self.gateway}{GATEWAY_SEPARATOR}{self.name}"

    @property
    def target(self) -> str:
        """The shortest name that means it."""
        return self.name if self.unique else self.full_name

    def to_dict(self) -> dict[str, object]:
        """The machine as ``--json`` shows it."""
        return {
            "name": self.name,
            "target": self.target,
            "gateway": self.gateway,
            "gateway_id": self.gateway_id,
            "url": self.url,
            "shown_at": self.shown_at,
        }


class MachineStore:
    """Every method raises ``IroshError`` as ``Database`` does. Gateways that are no active peers show nothing."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def remember(self, gateway_id: str, entries: Mapping[str, str]) -> None:
        """Keep what a gateway shows now, URLs by name, in place of what it showed before."""
        names = {name.lower(): (name, url) for name, url in checked_entries(entries).items()}
        kept = [names[key] for key in islice(sorted(names), MAX_KEPT)]
        with self._database.transaction():
            self._database.execute("DELETE FROM gateways WHERE peer = ?", (gateway_id,))
            if not kept or not self._database.query("SELECT 1 FROM peers WHERE id = ?", (gateway_id,)):
                return
            digest, now = list_digest(entries), self._clock()
            self._database.execute("INSERT INTO gateways VALUES (?, ?, ?)", (gateway_id, digest, now))
            for name, url in kept:
                self._database.execute("INSERT INTO machines VALUES (?, ?, ?)", (gateway_id, name, url))

    def digest(self, gateway_id: str) -> bytes:
        """Of the list that is remembered, as :func:`~irosh.core.gateway_list.list_digest` makes it."""
        rows = self._database.query("SELECT digest FROM gateways WHERE peer = ?", (gateway_id,))
        return cast(bytes, rows[0][0]) if rows else b""

    def confirm(self, gateway_id: str) -> None:
        """Note that the gateway shows the same still."""
        self._database.execute("UPDATE gateways SET shown_at = ? WHERE peer = ?", (self._clock(), gateway_id))

    def all(self) -> list[Machine]:
        """All machines, by name."""
        rows = self._database.query(f"{_SELECT} ORDER BY name, petname", (self._clock(),))
        taken = Counter(str(row[0]).lower() for row in rows)
        taken.update(str(petname).lower() for (petname,) in self._database.query("SELECT petname FROM peers"))
        return [_machine(row, unique=taken[str(row[0]).lower()] == 1) for row in rows]

    def named(self, name: str) -> list[Machine]:
        """Those with this name, in any case."""
        rows = self._database.query(f"{_SELECT} AND name = ? ORDER BY petname", (self._clock(), name))
        taken = self._database.query("SELECT 1 FROM peers WHERE petname = ?", (name,))
        return [_machine(row, unique=len(rows) == 1 and not taken) for row in rows]

    def meant(self, name: str) -> Machine | None:
        """The one that ``name`` or ``GATEWAY/NAME`` means. ``IroshError`` (unknown-target) for the name of several."""
        gateway, short = gateway_name(name) or (None, name)
        found = [each for each in self.named(short) if gateway is None or each.gateway.lower() == gateway.lower()]
        if len(found) > 1:
            names = " or ".join(machine.full_name for machine in found[:8])
            raise IroshError(ErrorCode.UNKNOWN_TARGET, f"several gateways show {short}", f"say which: {names}")
        return found[0] if found else None


def _machine(row: Row, *, unique: bool) -> Machine:
    name, gateway_id, gateway, url, shown_at = cast("tuple[str, str, str, str, float]", row)
    return Machine(name, gateway_id, gateway, url, shown_at, unique)
