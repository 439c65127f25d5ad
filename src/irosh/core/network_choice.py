"""What the flags of one command say of the network, as it travels on the control socket."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.network_options import (
    NetworkOptions,
    checked_relay,
    parse_nostr_relay,
    parse_stun_server,
    parse_turn_server,
)


class NetworkChoice(msgspec.Struct, omit_defaults=True, frozen=True):
    """What a command's flags say; None leaves it to the configuration. Travels on the control socket."""

    relays: tuple[str, ...] | None = None
    bind: str | None = None
    stun_servers: tuple[str, ...] | None = None
    turn_servers: tuple[str, ...] | None = None
    nostr_relays: tuple[str, ...] | None = None
    nsec_file: str | None = None
    relay_only: bool = False
    max_sessions: int | None = None

    def applied_to(self, options: NetworkOptions) -> NetworkOptions:
        """``options`` with what was chosen here in place. ``IroshError`` (invalid-address, usage)."""
        if self.relay_only and self.relays == ():
            raise IroshError(ErrorCode.USAGE, "--relay-only and --no-relay exclude each other")
        changes: dict[str, object] = {}
        if self.relays is not None:
            changes["relays"] = tuple(checked_relay(url) for url in self.relays)
        if self.bind is not None:
            changes["bind"] = self.bind
        if self.stun_servers is not None:
            changes["stun_servers"] = tuple(parse_stun_server(text) for text in self.stun_servers)
        if self.turn_servers is not None:
            changes["turn_servers"] = tuple(parse_turn_server(text) for text in self.turn_servers)
        if self.nostr_relays is not None:
            changes["nostr_relays"] = tuple(parse_nostr_relay(url) for url in self.nostr_relays)
        if self.nsec_file is not None:
            changes["nsec_file"] = Path(self.nsec_file)
        if self.max_sessions is not None:
            changes["max_sessions"] = self.max_sessions
        return replace(options, relay_only=options.relay_only or self.relay_only, **changes)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return "NetworkChoice(…)"  # TURN passwords are in it


NOTHING_CHOSEN = NetworkChoice()
