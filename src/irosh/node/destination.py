"""Where a link leads, and how its peer is met."""

from __future__ import annotations

from dataclasses import dataclass

from irosh.core.mode import Mode
from irosh.core.network_choice import NOTHING_CHOSEN, NetworkChoice
from irosh.core.paths import Paths
from irosh.node.ways import Way
from irosh.rendezvous.interfaces import Contact, Exchange


@dataclass(frozen=True)
class Destination:
    """Whom to dial and how: by which mode, with what network options, and who carries offers in the manual modes."""

    contact: Contact
    mode: Mode = Mode.IROH_DEFAULT
    network: NetworkChoice = NOTHING_CHOSEN
    exchange: Exchange | None = None
    paths: Paths | None = None
    """How to use several networks; None: as there is a session already, or as the configuration says."""
    way: Way | None = None
    """Through which machines; None: directly, or as there is a session already."""

    @property
    def peer_id(self) -> str | None:
        """None until the peer's offer has been seen."""
        return self.contact.endpoint_id
