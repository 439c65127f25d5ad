"""What every rendezvous mode offers the node."""

from __future__ import annotations

from typing import Protocol

from irosh.core.errors import IroshError
from irosh.transport.interfaces import Connection, Route


class Rendezvous(Protocol):
    """Finds paths to peers and accepts those who find us."""

    @property
    def id(self) -> str: ...

    def route(self) -> Route:
        """How peers reach this node, as known now."""

    async def dial(self, route: Route) -> Connection:
        """A connection to ``route.endpoint_id``. Raises ``IroshError``; gives up after its own deadline."""

    async def problems(self) -> list[IroshError]:
        """What keeps peers from reaching this node as its owner meant; empty when nothing does."""

    async def accept(self) -> Connection | None:
        """The next incoming connection; None once closed."""

    async def close(self) -> None: ...
