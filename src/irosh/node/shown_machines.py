"""The machines that this host shows to its peers as their gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from irosh.core.gateway_list import address_of, check_entry, list_digest
from irosh.core.socket_spec import SocketSpec
from irosh.node.authorization import Authorizer


class ShownMachines:
    """Lists that are shown while somebody serves them; each peer sees what it may go on to, and no more."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._lists: dict[int, list[tuple[str, str, SocketSpec]]] = {}
        self._last = 0

    @contextmanager
    def showing(self, entries: Mapping[str, str]) -> Iterator[None]:
        """Show ``entries``, URLs by name, while the context lasts. ``IroshError`` (usage, …) for what cannot be."""
        machines = [(name, url, address_of(check_entry(name, url))) for name, url in entries.items()]
        number = self._last = self._last + 1
        self._lists[number] = machines
        try:
            yield
        finally:
            del self._lists[number]

    def to_peer(self, peer_id: str) -> dict[str, str]:
        """URLs by name, of what a peer may go on to. A name that several lists have is that of the newest."""
        if not self._lists:
            return {}
        permitted = self._authorizer.reaching(peer_id, "gateway")
        return {name: url for machines in self._lists.values() for name, url, address in machines if permitted(address)}

    def digest(self, peer_id: str) -> bytes:
        """Of :meth:`to_peer`: tells a peer that knows a list whether it has changed."""
        return list_digest(self.to_peer(peer_id))
