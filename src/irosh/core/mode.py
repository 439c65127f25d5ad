"""The rendezvous modes: how two nodes find a path to each other."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """Names as they stand on the command line, in tickets and in the trust store."""

    IROH_DEFAULT = "iroh-default"
    """A persistent endpoint: discovery by endpoint id, hole punching, relay fallback."""
    IROH_MANUAL = "iroh-manual"
    """Serverless: offers and answers by copy and paste, no relay, no discovery."""
    CUSTOM = "custom"
    """Full ICE (RFC 8445), offers and answers by copy and paste."""
    NOSTR = "nostr"
    """Full ICE, offers and answers over Nostr relays."""


MANUAL_MODES = frozenset({Mode.IROH_MANUAL, Mode.CUSTOM})
"""Those in which a person or a script carries offers and answers."""
