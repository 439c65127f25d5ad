"""The table of peers in the state database: rows in, :class:`~irosh.core.peer.Peer` out. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from irosh.core.database import Database, Row, Value
from irosh.core.peer import ForwardAgent, Peer, Status, capabilities_from_text

# What is kept of what a peer says about how to reach it.
MAX_ADDRESSES = 32
MAX_RELAYS = 8
MAX_ROUTE_TEXT = 512

_SELECT = (
    "SELECT id, petname, capabilities, origin, revoked, blocked, first_seen, last_seen, expires_at,"
    " addresses, relays, remote_user, mode, npub, nostr_relays, forward_agent FROM peers"
)


class PeerTable:
    """Every method raises ``IroshError`` as ``Database`` does."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, peer_id: str) -> Peer | None:
        """The peer with this id."""
        return _only(self._database.query(f"{_SELECT} WHERE id = ?", (peer_id,)))

    def by_petname(self, petname: str) -> Peer | None:
        """The peer with this petname, in any case."""
        return _only(self._database.query(f"{_SELECT} WHERE petname = ?", (petname,)))

    def by_prefix(self, prefix: str) -> Peer | None:
        """The peer whose id begins with ``prefix``; None also if there are several."""
        return _only(self._database.query(f"{_SELECT} WHERE substr(id, 1, ?) = ? LIMIT 2", (len(prefix), prefix)))

    def all(self) -> list[Peer]:
        """All rows, by petname."""
        return [_peer(row) for row in self._database.query(f"{_SELECT} ORDER BY petname")]

    def insert(
        self,
        peer_id: str,
        *,
        petname: str,
        capabilities: str,
        origin: str,
        now: float,
        expires_at: float | None,
    ) -> None:
        """Add a peer; ``capabilities`` as :func:`~irosh.core.peer.capabilities_to_text` gives them."""
        self._database.execute(
            "INSERT INTO peers (id, petname, capabilities, origin, revoked, blocked, first_seen, last_seen,"
            " expires_at, addresses, relays, remote_user) VALUES (?, ?, ?, ?, 0, 0, ?, NULL, ?, '', '', NULL)",
            (peer_id, petname, capabilities, origin, now, expires_at),
        )

    def update(self, peer_id: str, **columns: Value) -> None:
        """Set columns of one peer. Their names come from code, never from data."""
        assignments = ", ".join(f"{column} = ?" for column in columns)
        statement = f"UPDATE peers SET {assignments} WHERE id = ?"  # noqa: S608
        self._database.execute(statement, (*columns.values(), peer_id))

    def set_route(self, peer_id: str, addresses: Iterable[str], relays: Iterable[str], remote_user: str | None) -> None:
        """Keep how a peer was reached, within the limits above; a ``remote_user`` of None changes nothing."""
        user = remote_user if remote_user is not None and _is_plain(remote_user) else None
        self._database.execute(
            "UPDATE peers SET addresses = ?, relays = ?, remote_user = coalesce(?, remote_user) WHERE id = ?",
            (_lines(addresses, MAX_ADDRESSES), _lines(relays, MAX_RELAYS), user, peer_id),
        )

    def set_rendezvous(self, peer_id: str, mode: str, npub: str | None, nostr_relays: Iterable[str]) -> None:
        """Keep by which mode a peer is met; an ``npub`` of None leaves what is known of Nostr."""
        self._database.execute(
            "UPDATE peers SET mode = ?, npub = coalesce(?, npub),"
            " nostr_relays = CASE WHEN ? IS NULL THEN nostr_relays ELSE ? END WHERE id = ?",
            (mode, npub, npub, _lines(nostr_relays, MAX_RELAYS), peer_id),
        )

    def by_npub(self, npub: str) -> Peer | None:
        """The peer with this Nostr key; None also if there are several."""
        return _only(self._database.query(f"{_SELECT} WHERE npub = ? LIMIT 2", (npub,)))

    def delete(self, peer_id: str) -> None:
        """Remove a peer, if it is there."""
        self._database.execute("DELETE FROM peers WHERE id = ?", (peer_id,))


def _only(rows: list[Row]) -> Peer | None:
    return _peer(rows[0]) if len(rows) == 1 else None


def _peer(row: Row) -> Peer:
    (
        peer_id,
        petname,
        capabilities,
        origin,
        revoked,
        blocked,
        first_seen,
        last_seen,
        expires_at,
        addresses,
        relays,
        remote_user,
        mode,
        npub,
        nostr_relays,
        forward_agent,
    ) = cast(
        "tuple[str, str, str, str, int, int, float, float | None, float | None, str, str, str | None, str,"
        " str | None, str, ForwardAgent]",
        row,
    )
    status: Status = "blocked" if blocked else "revoked" if revoked else "active"
    return Peer(
        id=peer_id,
        petname=petname,
        capabilities=capabilities_from_text(capabilities),
        origin=origin,
        status=status,
        first_seen=first_seen,
        last_seen=last_seen,
        expires_at=expires_at,
        addresses=tuple(addresses.splitlines()),
        relays=tuple(relays.splitlines()),
        remote_user=remote_user,
        mode=mode,
        npub=npub,
        nostr_relays=tuple(nostr_relays.splitlines()),
        forward_agent=forward_agent,
    )


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= MAX_ROUTE_TEXT and text.isprintable()


def _lines(texts: Iterable[str], most: int) -> str:
    return "\n".join(list(filter(_is_plain, dict.fromkeys(texts)))[:most])
