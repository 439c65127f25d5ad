"""A peer: another identity that this node knows, as the trust store holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from irosh.core.capability import Capability, parse_capability
from irosh.core.errors import IroshError
from irosh.core.mode import Mode

Status = Literal["active", "revoked", "blocked"]
ForwardAgent = Literal["no", "yes", "confirm"]
Standing = Literal["unknown", "active", "revoked", "blocked", "expired"]

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Peer:
    """One known identity. Times are in Unix seconds.

    ``status`` says what was decided about the peer; one that is ``active`` may still have expired
    (``expires_at``), which :meth:`irosh.core.trust.TrustStore.standing` takes into account.
    """

    id: str
    """The endpoint id: 64 lower-case hexadecimal digits."""
    petname: str
    capabilities: tuple[Capability, ...]
    origin: str
    """How it came to be known: ``invite``, ``ticket`` or ``manual``; ``block`` if only to be refused."""
    status: Status
    first_seen: float
    last_seen: float | None
    expires_at: float | None
    addresses: tuple[str, ...]
    """Socket addresses under which it was last reached."""
    relays: tuple[str, ...]
    """URLs of the relays through which it was last reached."""
    remote_user: str | None
    """The Unix user its host runs as."""
    mode: str = Mode.IROH_DEFAULT
    """The rendezvous mode it is met by, unless a command names another."""
    npub: str | None = None
    """Its Nostr key."""
    nostr_relays: tuple[str, ...] = ()
    """Where it listens in mode nostr."""
    forward_agent: ForwardAgent = "no"
    """Whether it is offered this machine's ssh-agent, unless a command says otherwise."""

    def to_dict(self) -> dict[str, object]:
        """The peer as ``--json`` shows it."""
        return {
            "id": self.id,
            "petname": self.petname,
            "capabilities": [str(capability) for capability in self.capabilities],
            "origin": self.origin,
            "status": self.status,
            "first_seen": self.first_seen,
            "last_seen": self.last_seen,
            "expires_at": self.expires_at,
            "addresses": list(self.addresses),
            "relays": list(self.relays),
            "remote_user": self.remote_user,
            "mode": str(self.mode),
            "npub": self.npub,
            "nostr_relays": list(self.nostr_relays),
            "forward_agent": self.forward_agent,
        }


def is_endpoint_id(text: str) -> bool:
    """Whether ``text`` has the form in which the trust store keeps endpoint ids."""
    return _ID.fullmatch(text) is not None


def capabilities_to_text(capabilities: Iterable[Capability]) -> str:
    """Capabilities as the database stores them: one a line, each once. None of them holds a line break."""
    return "\n".join(dict.fromkeys(str(capability) for capability in capabilities))


@lru_cache(maxsize=256)
def capabilities_from_text(text: str) -> tuple[Capability, ...]:
    """The capabilities in a stored text. A line that this version cannot read grants nothing."""
    return tuple(capability for line in text.split("\n") if (capability := _readable(line)) is not None)


def _readable(line: str) -> Capability | None:
    try:
        return parse_capability(line)
    except IroshError:
        return None
