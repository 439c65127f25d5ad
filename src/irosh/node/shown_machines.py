"""The machines that this host shows to its peers as their gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from irosh.core.capability import Capability
from irosh.core.gateway_list import address_of, check_entry, list_digest
from irosh.core.policy import seems_permitted
from irosh.core.socket_spec import SocketSpec
from irosh.node.authorization import Authorizer

MAX_REMEMBERED = 64


@dataclass(frozen=True)
class Shown:
    """URLs by name, and the digest of that: it tells whoever knows a list whether it has changed."""

    entries: Mapping[str, str]
    digest: bytes


_NOTHING = Shown({}, list_digest({}))


class ShownMachines:
    """Lists that are shown while somebody serves them; each peer sees what it may go on to, and no more."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._lists: dict[int, list[tuple[str, str, SocketSpec]]] = {}
        self._last = 0
        # By what a peer may do: every connection asks.
        self._made: dict[tuple[Capability, ...], Shown] = {}

    @contextmanager
    def showing(self, entries: Mapping[str, str]) -> Iterator[None]:
        """Show ``entries``, URLs by name, while the context lasts. ``IroshError`` (usage, …) for what cannot be."""
        machines = [(name, url, address_of(check_entry(name, url))) for name, url in entries.items()]
        number = self._last = self._last + 1
        self._lists[number] = machines
        self._made.clear()
        try:
            yield
        finally:
            del self._lists[number]
            self._made.clear()

    def to_peer(self, peer_id: str) -> Shown:
        """What a peer may go on to. A name that several lists have is that of the newest."""
        if not self._lists:
            return _NOTHING
        capabilities = tuple(each for each in self._authorizer.at_rest(peer_id) if each.kind in ("gateway", "all"))
        if not capabilities:
            return _NOTHING
        if (known := self._made.get(capabilities)) is not None:
            return known
        found = {
            name: url
            for machines in self._lists.values()
            for name, url, address in machines
            if seems_permitted(capabilities, "gateway", address)
        }
        if len(self._made) >= MAX_REMEMBERED:
            self._made.clear()
        made = self._made[capabilities] = Shown(found, list_digest(found))
        return made
