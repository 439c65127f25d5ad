"""On what terms an identity is let in to which the trust store grants nothing. Pure.

What a line of ``authorized_keys`` or a certificate says is turned into capabilities and conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from irosh.core.capability import KINDS, Capability, parse_capabilities, parse_capability
from irosh.core.errors import IroshError
from irosh.core.ssh_patterns import matches_address_list

RELAYED = "relayed"
"""The pattern of ``from=`` for a peer whose address is not known, as a relay carries it."""

_FORWARDING = ("forward", "listen", "jump", "gateway", "vpn")
# What there is for a command that is forced: it replaces shells and commands, and nothing else may act as the account.
_BESIDE_COMMAND = ("shell", "exec", "agent", *_FORWARDING)


@dataclass(frozen=True, slots=True)
class Terms:
    """``origin`` says where they come from. What is None or empty is not restricted, or not given."""

    origin: str
    capabilities: tuple[Capability, ...]
    command: str | None = None
    """Runs in place of every shell and command; SSH_ORIGINAL_COMMAND is what was asked for."""
    environment: Mapping[str, str] = field(default_factory=dict)
    pty: bool = True
    expires_at: float | None = None
    """Unix seconds."""
    sources: tuple[str, ...] = ()
    """Lists of patterns, each of which the peer's address must match."""
    own_account: bool = True
    """Whether the peer may act as the user that the host runs as."""

    def from_here(self, address: str | None) -> bool:
        """Whether the peer may come from ``address``; None: a relay carries it."""
        try:
            if address is None:
                return all(RELAYED in patterns.split(",") for patterns in self.sources)
            return all(matches_address_list(address, patterns) for patterns in self.sources)
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the options of a line, or the extensions of a certificate, leave of what there is."""

    forwarding: bool = True
    agent: bool = True
    command: bool = False
    """Whether a command is forced."""
    opens: tuple[Capability, ...] | None = None
    """The only ``forward`` capabilities; None: all."""
    listens: tuple[Capability, ...] | None = None
    """The only ``listen`` capabilities; None: all."""

    def of(self, granted: Iterable[Capability]) -> tuple[Capability, ...]:
        """What is left of ``granted``."""
        kept = []
        for capability in _spelled_out(granted):
            kind: str = capability.kind
            left_out = (
                (kind in _FORWARDING and not self.forwarding)
                or (kind == "agent" and not self.agent)
                or (self.command and kind not in _BESIDE_COMMAND)
                or (kind in ("jump", "gateway", "vpn") and (self.opens is not None or self.listens is not None))
                or (kind == "forward" and self.opens is not None)
                or (kind == "listen" and self.listens is not None)
            )
            if not left_out:
                kept.append(capability)
        if self.forwarding:
            kept += [*(self.opens or ()), *(self.listens or ())]
        return tuple(dict.fromkeys(kept))


def _spelled_out(granted: Iterable[Capability]) -> list[Capability]:
    """``all`` as one capability of each kind, so that some can be taken away."""
    found: list[Capability] = []
    for capability in granted:
        if capability.kind == "all":
            found += [each for kind in KINDS if kind != "all" for each in _everything(kind)]
        else:
            found.append(capability)
    return found


def _everything(kind: str) -> Iterable[Capability]:
    if kind in ("forward", "listen"):
        return parse_capabilities(f"{kind}:{where}" for where in ("tcp://*:*", "udp://*:*", "unix:///**"))
    for text in (kind, f"{kind}:*"):
        try:
            return (parse_capability(text),)
        except IroshError:
            continue
    return ()  # of a kind that has no form for everything nothing is left
