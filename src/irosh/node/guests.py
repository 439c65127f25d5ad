"""Peers that come through another peer: the one that brings them does not vouch for them, they prove who they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from irosh.core.errors import IroshError
from irosh.core.peer import Peer
from irosh.core.trust import TrustStore
from irosh.node.audit import Auditor

End = Callable[[IroshError], None]


class Guests:
    """Who may come so, and what is to end when one of them loses its access."""

    def __init__(self, trust: TrustStore, auditor: Auditor) -> None:
        self._trust = trust
        self._auditor = auditor
        self._visits: dict[str, dict[int, End]] = {}
        self._last = 0

    def find(self, peer_id: str) -> Peer | None:
        """The active peer with this identity, proven or only claimed."""
        return self._trust.active(peer_id)

    @contextmanager
    def visit(self, peer_id: str, through: str, end: End) -> Iterator[None]:
        """The peer has proven its identity, and is here while the context lasts; ``end`` turns it out."""
        self._auditor.record("connect", peer_id, "accepted", f"through {through}")
        number = self._last = self._last + 1
        self._visits.setdefault(peer_id, {})[number] = end
        try:
            yield
        finally:
            self._auditor.record("connection", peer_id, "closed", f"through {through}")
            del self._visits[peer_id][number]
            if not self._visits[peer_id]:
                del self._visits[peer_id]

    def close(self, peer_id: str, error: IroshError) -> int:
        """End all visits of a peer; returns how many there were."""
        ends = list(self._visits.get(peer_id, {}).values())
        for end in ends:
            end(error)
        return len(ends)
