"""Which connection serves which endpoint id, and who has exchanged datagrams with whom. Pure.

Of several connections with one id the newest serves; the older ones wait, and the last of them takes over
when the newest leaves. That is what iroh-relay does: a client that roamed reconnects before the relay
notices that its old connection is dead, and of two programs that share a key by mistake the later one works
until it ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MAX_SAME_ID = 8
"""Connections that one id may hold. Each of many programs with one key would otherwise, on losing its
connection to the next, come back at once and start the round again.
"""
MAX_CORRESPONDENTS = 512
"""Correspondents remembered per id. With those beyond it, an endpoint merely learns later that the other is
gone.
"""

C = TypeVar("C")


@dataclass(slots=True)
class Entry(Generic[C]):
    """One endpoint id. ``connections`` are ordered oldest first and never empty; the last one serves."""

    endpoint_id: bytes
    connections: list[C] = field(default_factory=list)
    correspondents: set[bytes] = field(default_factory=set)

    @property
    def serving(self) -> C:
        """The connection that gets this id's datagrams."""
        return self.connections[-1]


@dataclass(frozen=True, slots=True)
class Joined(Generic[C]):
    """What followed from a connection's joining."""

    entry: Entry[C]
    superseded: C | None
    """Served this id until now."""


@dataclass(frozen=True, slots=True)
class Left(Generic[C]):
    """What followed from a connection's leaving."""

    promoted: C | None = None
    """Serves this id from now on."""
    bereaved: tuple[C, ...] = ()
    """The id is gone from the relay, and these serve the ids that had exchanged datagrams with it."""


class Registry(Generic[C]):
    """The connected clients of a relay."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry[C]] = {}
        self._size = 0

    def __len__(self) -> int:
        """Connections, waiting ones included."""
        return self._size

    def __iter__(self) -> Iterator[C]:
        for entry in self._entries.values():
            yield from entry.connections

    @property
    def endpoints(self) -> int:
        """Distinct endpoint ids."""
        return len(self._entries)

    def has_room(self, endpoint_id: bytes) -> bool:
        """Whether a further connection may :meth:`join` for ``endpoint_id``."""
        entry = self._entries.get(endpoint_id)
        return entry is None or len(entry.connections) < MAX_SAME_ID

    def join(self, endpoint_id: bytes, connection: C) -> Joined[C]:
        """Lets ``connection`` serve ``endpoint_id`` from now on."""
        entry = self._entries.setdefault(endpoint_id, Entry(endpoint_id))
        superseded = entry.serving if entry.connections else None
        entry.connections.append(connection)
        self._size += 1
        return Joined(entry, superseded)

    def leave(self, endpoint_id: bytes, connection: C) -> Left[C]:
        """Forgets ``connection``, which has joined for ``endpoint_id``."""
        entry = self._entries[endpoint_id]
        self._size -= 1
        was_serving = entry.serving is connection
        entry.connections.remove(connection)
        if entry.connections:
            return Left(promoted=entry.serving if was_serving else None)
        del self._entries[endpoint_id]
        others = [self._entries[peer] for peer in entry.correspondents if peer in self._entries]
        for other in others:
            other.correspondents.discard(endpoint_id)
        return Left(bereaved=tuple(other.serving for other in others))

    def route(self, source: Entry[C], destination: bytes) -> C | None:
        """The connection that serves ``destination``, if one does; remembers that the two correspond."""
        target = self._entries.get(destination)
        if target is None:
            return None
        if destination not in source.correspondents:
            self._introduce(source, target)
        return target.serving

    def _introduce(self, source: Entry[C], target: Entry[C]) -> None:
        # Both ways or not at all, so that whoever leaves finds all who remember it.
        full = max(len(source.correspondents), len(target.correspondents)) >= MAX_CORRESPONDENTS
        if source is not target and not full:
            source.correspondents.add(target.endpoint_id)
            target.correspondents.add(source.endpoint_id)
