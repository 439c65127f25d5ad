"""What a node may use to meet others: relays, STUN and TURN servers, Nostr relays, and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from irosh.core.endpoint_address import check_relay_url
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import Fault, bracketed, parse_host, parse_port, split_host_port
from irosh.core.wording import quoted

DEFAULT_STUN_SERVERS = ("stun.l.google.com:19302", "stun.cloudflare.com:3478")
DEFAULT_NOSTR_RELAYS = ("wss://relay.damus.io", "wss://nos.lol", "wss://relay.nostr.band")
DEFAULT_MAX_SESSIONS = 10
STUN_PORT = 3478  # RFC 8489; TURN's too, RFC 8656
MAX_SERVERS = 16


@dataclass(frozen=True)
class TurnServer:
    """A TURN server (RFC 8656) and the credentials for it."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"


@dataclass(frozen=True)
class NetworkOptions:
    """The configuration and the flags of a command, merged."""

    relays: tuple[str, ...] | None = None
    """iroh relays; None: the public ones; empty: none."""
    bind: str = "0.0.0.0:0"
    """UDP address of the persistent endpoint."""
    stun_servers: tuple[str, ...] = DEFAULT_STUN_SERVERS
    """``host:port``; empty: none."""
    turn_servers: tuple[TurnServer, ...] = ()
    nostr_relays: tuple[str, ...] = DEFAULT_NOSTR_RELAYS
    nsec_file: Path | None = None
    """Where the Nostr key is; None: derived from the identity."""
    relay_only: bool = False
    """Use no direct path."""
    max_sessions: int = DEFAULT_MAX_SESSIONS
    """Receivers served at once in mode nostr; 0: no limit."""
    mdns: bool = True
    """Announce and look for endpoint ids on the local network."""
    relay_token: Callable[[str], str | None] = field(default=lambda _url: None, repr=False, compare=False)


def checked_relay(url: str) -> str:
    """An iroh relay's URL. ``IroshError`` (invalid-address)."""
    try:
        return check_relay_url(url)
    except ValueError as error:
        raise IroshError(ErrorCode.INVALID_ADDRESS, str(error), "such as https://relay.example") from None


def parse_stun_server(text: str) -> str:
    """``host[:port]`` in canonical form, port 3478 if none is given. ``IroshError`` (invalid-address)."""
    try:
        host, port = _host_port(text)
    except Fault as fault:
        hint = fault.hint or "write HOST:PORT, such as stun.example:3478"
        raise IroshError(ErrorCode.INVALID_ADDRESS, f"STUN server {quoted(text)}: {fault.message}", hint) from None
    return f"{bracketed(host)}:{port}"


def parse_turn_server(text: str) -> TurnServer:
    """``user:password@host[:port]``. ``IroshError`` (invalid-address), which never shows the password."""
    credentials, at, where = text.rpartition("@")
    username, colon, password = credentials.partition(":")
    if not at or not colon or not username or not password:
        raise IroshError(
            ErrorCode.INVALID_ADDRESS,
            f"TURN server {quoted(where)}: it needs a user name and a password",
            "write USER:PASSWORD@HOST:PORT",
        )
    try:
        host, port = _host_port(where)
    except Fault as fault:
        hint = fault.hint or "write USER:PASSWORD@HOST:PORT"
        raise IroshError(ErrorCode.INVALID_ADDRESS, f"TURN server {quoted(where)}: {fault.message}", hint) from None
    return TurnServer(host, port, username, password)


def parse_nostr_relay(text: str) -> str:
    """A Nostr relay's ``ws://`` or ``wss://`` URL without a final slash. ``IroshError`` (invalid-address)."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator or scheme.lower() not in ("ws", "wss"):
        raise IroshError(ErrorCode.INVALID_ADDRESS, f"{quoted(text)} is not a Nostr relay", "write wss://relay.example")
    try:
        check_relay_url(f"{'https' if scheme.lower() == 'wss' else 'http'}://{rest}")
    except ValueError:
        raise IroshError(
            ErrorCode.INVALID_ADDRESS, f"{quoted(text)} is not a valid URL", "write wss://relay.example"
        ) from None
    return f"{scheme.lower()}://{rest.rstrip('/')}"


def _host_port(text: str) -> tuple[str, int]:
    has_port = "]:" in text or (":" in text and not text.endswith("]"))
    host, port = split_host_port(text if has_port else f"{text}:{STUN_PORT}")
    return parse_host(host), parse_port(port)
