"""What every rendezvous mode offers the node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from irosh.core.errors import IroshError
from irosh.transport.interfaces import Connection, Route

BlockKind = Literal["offer", "answer"]


@dataclass(frozen=True)
class Contact:
    """Whom to meet, and all that is known about how.

    ``endpoint_id`` None: whoever the pasted offer, or the holder of ``npub``, proves to be.
    """

    endpoint_id: str | None
    relays: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    npub: str | None = None
    nostr_relays: tuple[str, ...] = ()
    invite: bytes | None = field(default=None, repr=False)
    """A one-time secret that gets an unknown identity in; a mode may have to show it early."""

    def route(self) -> Route:
        """Where to dial an endpoint that is known."""
        assert self.endpoint_id is not None
        return Route(self.endpoint_id, self.relays, self.addresses)


class Exchange(Protocol):
    """Carries blocks between two nodes by a person's hands or a script's."""

    async def show(self, kind: BlockKind, block: str) -> None:
        """Show our block, to be brought to the peer."""

    async def ask(self, kind: BlockKind) -> str:
        """The peer's block, as pasted: there may be anything around it. Raises ``IroshError`` when none will come."""

    async def note(self, error: IroshError) -> None:
        """Say what was wrong with a block; it is asked for again."""


@dataclass(frozen=True)
class Meeting:
    """What dialling leads to. ``invite``: what the peer's offer brought for us to show."""

    connection: Connection
    invite: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Hosting:
    """What a rendezvous needs of a node that lets peers in."""

    exchange: Exchange | None
    """For the manual modes."""
    invite: Callable[[], bytes | None]
    """An invite for an offer; each call may give the same one."""
    knows: Callable[[str], bool]
    """Whether an endpoint id belongs to an active peer."""
    check_invite: Callable[[bytes, str], None] = field(default=lambda _invite, _peer_id: None)
    """Raises ``IroshError`` if the invite would not let in this endpoint id. Uses nothing up."""


class Rendezvous(Protocol):
    """Finds paths to peers and accepts those who find us, in one mode."""

    async def dial(self, contact: Contact, exchange: Exchange | None) -> Meeting:
        """A connection to the peer. Raises ``IroshError``; gives up after its own deadline."""

    async def accept(self) -> Connection | None:
        """The next incoming connection; None once closed."""

    def contact(self) -> Contact:
        """How peers reach this node in this mode, as known now."""

    async def problems(self) -> list[IroshError]:
        """What keeps peers from reaching this node as its owner meant; empty when nothing does."""

    async def close(self) -> None: ...
