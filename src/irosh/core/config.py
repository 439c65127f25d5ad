"""``config.toml``: what a person sets once. Typed, with defaults; unknown keys and wrong types are errors.

::

    [network]
    relays = ["https://relay.example"]   # default: iroh's public relays; [] for none
    bind = "0.0.0.0:0"                   # UDP address of the QUIC endpoint; port 0 is any
    stun_servers = ["stun.example:3478"] # default: public ones; [] for none
    turn_servers = ["user:password@turn.example:3478"]  # the file must then have mode 0600
    nostr_relays = ["wss://relay.example"]  # default: public ones
    nsec_file = "/path/to/key"           # the Nostr key; default: derived from the identity
    max_sessions = 10                    # receivers at once in mode nostr; 0 for no limit
    mdns = true                          # announce and look for endpoint ids on the local network
    [relay_tokens]                       # the bearer token for a relay; the file must then have mode 0600
    "https://relay.example" = "secret"
    [host]
    allow = ["shell", "exec"]            # what an invite grants
    invite_uses = 1
    invite_expires = "1h"
    authorized_keys = "~/.ssh/authorized_keys"  # whose Ed25519 keys get in without an invite; default: none
    require = ["password"]               # second factors of whom an invite lets in; default: none
    factor_attempts = 10                 # wrong answers in a row that lock a peer out
    factor_lifetime = "12h"              # what was given counts for this long; "0s": as long as the session lasts
    [tunnel]
    udp_idle = "60s"                     # a UDP flow is forgotten after this long without a packet
    [vpn]
    pool = "100.64.7.0/24"               # where clients of `irosh vpn` get addresses; default: by the identity
    pool6 = "fd00:7::/64"
    [session]
    keepalive = "15s"                    # after this long without a sign of life the peer is asked for one
    dead_after = "30s"                   # after this long the connection is given up
    resume = "10m"                       # how long sessions wait for the next connection; "0s" turns it off
    replay_buffer = "16MiB"              # kept of each stream to be sent again
    paths = "fastest"                    # several networks: "fastest", "redundant" or "all"
    [metrics]
    listen = "127.0.0.1:9464"            # where a host serves Prometheus metrics by HTTP; default: nowhere
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from irosh.core.addresses import parse_ip
from irosh.core.capability import DEFAULT_INVITE_CAPABILITIES, parse_capabilities
from irosh.core.durations import format_duration, parse_duration
from irosh.core.endpoint_address import check_relay_url
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.listen_address import format_listen_address
from irosh.core.network_options import (
    MAX_SERVERS,
    NetworkOptions,
    parse_nostr_relay,
    parse_stun_server,
    parse_turn_server,
)
from irosh.core.paths import Paths, parse_paths
from irosh.core.second_factor import parse_factors
from irosh.core.session_settings import SessionSettings
from irosh.core.sizes import format_size, parse_size
from irosh.core.socket_spec import Fault, bracketed, parse_port, split_host_port
from irosh.core.wording import did_you_mean, escape, quoted

MAX_SIZE = 1024 * 1024
"""Bytes of the largest file that is read."""

_LEAST_REPLAY, _MOST_REPLAY = 64 * 1024, 1024**3

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HostConfig:
    """``[host]``."""

    allow: tuple[str, ...] = DEFAULT_INVITE_CAPABILITIES
    """Capabilities that an invite grants, in canonical text."""
    invite_uses: int = 1
    invite_expires: float = 3600.0
    """Seconds."""
    authorized_keys: Path | None = None
    """Identities whose keys are in this file get in without an invite."""
    require: tuple[str, ...] = ()
    """Second factors of whom an invite lets in."""
    factor_attempts: int = 10
    """Failures in a row that lock a peer out."""
    factor_lifetime: float = 12 * 3600.0
    """Seconds for which a factor counts that was given; 0: as long as the session lasts."""


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """``[tunnel]``."""

    udp_idle: float = 60.0
    """Seconds without a packet after which a UDP flow is forgotten."""


@dataclass(frozen=True, slots=True)
class VpnConfig:
    """``[vpn]``: where clients get their addresses; None: in networks that go with the identity."""

    pool: IPv4Network | None = None
    pool6: IPv6Network | None = None


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """``[metrics]``."""

    listen: str | None = None
    """Where a host serves its metrics by HTTP, ``ADDRESS:PORT``; None: nowhere."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration."""

    network: NetworkOptions = field(default_factory=NetworkOptions)
    relay_tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Bearer tokens by relay URL. Secret; :meth:`relay_token` looks one up."""
    host: HostConfig = field(default_factory=HostConfig)
    tunnel: TunnelConfig = field(default_factory=TunnelConfig)
    vpn: VpnConfig = field(default_factory=VpnConfig)
    session: SessionSettings = field(default_factory=SessionSettings)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)

    def network_options(self) -> NetworkOptions:
        """``[network]``, with the tokens for relays."""
        return replace(self.network, relay_token=self.relay_token)

    def relay_token(self, url: str) -> str | None:
        """The bearer token for the relay at ``url``, in any case and with or without the final slash."""
        wanted = _comparable(url)
        return next((token for known, token in self.relay_tokens.items() if _comparable(known) == wanted), None)


def load_config(path: Path) -> Config:
    """Read the configuration; a missing file means the defaults.

    Raises ``IroshError(INVALID_CONFIG)`` with the file, the key and what was expected. A file that holds
    relay tokens and is accessible to anyone but its owner is refused.
    """
    found = _read(path)
    if found is None:
        return Config()
    text, mode = found
    config = _config(_Table(path, "", _parse_toml(path, text)))
    secrets = "relay tokens" if config.relay_tokens else "TURN passwords" if config.network.turn_servers else ""
    if secrets and mode & 0o077:
        raise IroshError(
            ErrorCode.INVALID_CONFIG,
            f"{path} holds {secrets}, but others may read it (mode {mode:04o})",
            f"run: chmod 600 {path}",
        )
    return config


def config_to_dict(config: Config) -> dict[str, object]:
    """The configuration in the shape of the file, for people and ``--json``: secrets show as ``***``."""
    relays = config.network.relays
    return {
        "network": {
            "relays": None if relays is None else list(relays),
            "bind": config.network.bind,
            "stun_servers": list(config.network.stun_servers),
            "turn_servers": [f"{server.username}:***@{server}" for server in config.network.turn_servers],
            "nostr_relays": list(config.network.nostr_relays),
            "nsec_file": None if config.network.nsec_file is None else str(config.network.nsec_file),
            "max_sessions": config.network.max_sessions,
            "mdns": config.network.mdns,
        },
        "relay_tokens": dict.fromkeys(config.relay_tokens, "***"),
        "host": {
            "allow": list(config.host.allow),
            "invite_uses": config.host.invite_uses,
            "invite_expires": format_duration(config.host.invite_expires),
            "authorized_keys": None if config.host.authorized_keys is None else str(config.host.authorized_keys),
            "require": list(config.host.require),
            "factor_attempts": config.host.factor_attempts,
            "factor_lifetime": format_duration(config.host.factor_lifetime),
        },
        "tunnel": {"udp_idle": format_duration(config.tunnel.udp_idle)},
        "vpn": {"pool": _text_or_none(config.vpn.pool), "pool6": _text_or_none(config.vpn.pool6)},
        "session": {
            "keepalive": format_duration(config.session.keepalive),
            "dead_after": format_duration(config.session.dead_after),
            "resume": format_duration(config.session.resume_for),
            "replay_buffer": format_size(config.session.replay_buffer),
            "paths": str(config.session.paths),
        },
        "metrics": {"listen": config.metrics.listen},
    }


class _Table:
    """One table of the file. Keys are taken out one by one; what is left over at the end is unknown."""

    def __init__(self, path: Path, name: str, values: dict[str, object]) -> None:
        self._path = path
        self._name = name
        self._values = dict(values)
        self._known: list[str] = []

    def take(self, key: str, read: Callable[[object], T], default: T) -> T:
        """The value of ``key`` as ``read`` makes it of what the file says, or the default."""
        self._known.append(key)
        return self._convert(key, read, self._values.pop(key)) if key in self._values else default

    def take_all(self, read_key: Callable[[object], str], read: Callable[[object], T]) -> dict[str, T]:
        """All keys and values, of a table whose keys are data."""
        return {
            self._convert(key, read_key, key): self._convert(key, read, value) for key, value in self._values.items()
        }

    def table(self, name: str) -> _Table:
        """The table ``name`` in this one; empty if it is missing."""
        none: dict[str, object] = {}
        values = self.take(name, lambda value: _of_type(value, dict, f"a table, [{name}]"), none)
        return _Table(self._path, self._full(name), values)

    def end(self) -> None:
        """Raise ``IroshError(INVALID_CONFIG)`` if a key is left."""
        for key in self._values:
            raise self.invalid(key, "there is no such key", did_you_mean(key, self._known))

    def _convert(self, key: str, read: Callable[[object], T], value: object) -> T:
        try:
            return read(value)
        except (Fault, IroshError) as error:
            raise self.invalid(key, error.message, error.hint) from None

    def _full(self, key: str) -> str:
        shown = key if _BARE_KEY.fullmatch(key) else f'"{escape(key, 80)}"'
        return f"{self._name}.{shown}" if self._name else shown

    def invalid(self, key: str, message: str, hint: str) -> IroshError:
        """What is wrong with the value of ``key``."""
        return IroshError(ErrorCode.INVALID_CONFIG, f"{self._path}: {self._full(key)}: {message}", hint)


def _config(root: _Table) -> Config:
    config = Config(
        network=_network(root.table("network")),
        relay_tokens=MappingProxyType(root.table("relay_tokens").take_all(_relay_url, _token)),
        host=_host(root.table("host")),
        tunnel=_tunnel(root.table("tunnel")),
        vpn=_vpn(root.table("vpn")),
        session=_session(root.table("session")),
        metrics=_metrics(root.table("metrics")),
    )
    root.end()
    return config


def _network(table: _Table) -> NetworkOptions:
    default = NetworkOptions()
    network = NetworkOptions(
        relays=table.take("relays", _relays, default.relays),
        bind=table.take("bind", _bind, default.bind),
        stun_servers=table.take("stun_servers", _each(parse_stun_server), default.stun_servers),
        turn_servers=table.take("turn_servers", _each(parse_turn_server), default.turn_servers),
        nostr_relays=table.take("nostr_relays", _each(parse_nostr_relay), default.nostr_relays),
        nsec_file=table.take("nsec_file", _path, default.nsec_file),
        max_sessions=table.take("max_sessions", _limit, default.max_sessions),
        mdns=table.take("mdns", _flag, default.mdns),
    )
    table.end()
    return network


def _host(table: _Table) -> HostConfig:
    default = HostConfig()
    host = HostConfig(
        allow=table.take("allow", _capabilities, default.allow),
        invite_uses=table.take("invite_uses", _count, default.invite_uses),
        invite_expires=table.take("invite_expires", _duration, default.invite_expires),
        authorized_keys=table.take("authorized_keys", _path, default.authorized_keys),
        require=table.take("require", _factors, default.require),
        factor_attempts=table.take("factor_attempts", _count, default.factor_attempts),
        factor_lifetime=table.take("factor_lifetime", _duration_or_none, default.factor_lifetime),
    )
    table.end()
    return host


def _text_or_none(value: object | None) -> str | None:
    return None if value is None else str(value)


def _vpn(table: _Table) -> VpnConfig:
    vpn = VpnConfig(pool=table.take("pool", _pool4, None), pool6=table.take("pool6", _pool6, None))
    table.end()
    return vpn


def _pool4(value: object) -> IPv4Network:
    text = _of_type(value, str, "a network")
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise Fault(f"{quoted(text)} is no IPv4 network: {error}", "write it like 100.64.7.0/24") from None
    if not 16 <= network.prefixlen <= 30 or network.is_multicast or network.is_loopback or network.is_link_local:
        raise Fault(f"{quoted(text)} is no network for clients", "take a private one between /16 and /30")
    return network


def _pool6(value: object) -> IPv6Network:
    text = _of_type(value, str, "a network")
    try:
        network = IPv6Network(text)
    except ValueError as error:
        raise Fault(f"{quoted(text)} is no IPv6 network: {error}", "write it like fd00:7::/64") from None
    if not 48 <= network.prefixlen <= 112 or network.is_multicast or network.is_link_local:
        raise Fault(f"{quoted(text)} is no network for clients", "take a private one between /48 and /112")
    return network


def _tunnel(table: _Table) -> TunnelConfig:
    tunnel = TunnelConfig(udp_idle=table.take("udp_idle", _duration, TunnelConfig().udp_idle))
    table.end()
    return tunnel


def _session(table: _Table) -> SessionSettings:
    default = SessionSettings()
    session = SessionSettings(
        keepalive=table.take("keepalive", _duration, default.keepalive),
        dead_after=table.take("dead_after", _duration, default.dead_after),
        resume_for=table.take("resume", _duration_or_none, default.resume_for),
        replay_buffer=table.take("replay_buffer", _size, default.replay_buffer),
        paths=table.take("paths", _paths, default.paths),
    )
    table.end()
    if session.dead_after <= session.keepalive:
        # Whoever is only silent would be given up before it is asked.
        asked = f"it has to be longer than keepalive, {format_duration(session.keepalive)}"
        raise table.invalid("dead_after", asked, "twice as long is a good choice")
    return session


def _metrics(table: _Table) -> MetricsConfig:
    metrics = MetricsConfig(listen=table.take("listen", _listen, MetricsConfig().listen))
    table.end()
    return metrics


# Readers: from what TOML has to what the configuration holds. They raise Fault or IroshError.


def _relays(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_relay_url(item) for item in _of_type(value, list, "a list of URLs")))


def _paths(value: object) -> Paths:
    return parse_paths(_of_type(value, str, "a way to use paths, as text"))


def _relay_url(value: object) -> str:
    try:
        return check_relay_url(_of_type(value, str, "a URL as text"))
    except ValueError as error:
        raise Fault(str(error), "write it like https://relay.example") from None


def _token(value: object) -> str:
    token = _of_type(value, str, "a token as text")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        # It goes into an HTTP header. The message must not show it.
        raise Fault("the token is not made of printable ASCII characters without spaces")
    return token


def _bind(value: object) -> str:
    host, port = split_host_port(_of_type(value, str, 'an address as text, like "0.0.0.0:0"'))
    address = parse_ip(host[1:-1] if host.startswith("[") else host)
    if address is None:
        raise Fault(f"{quoted(host)} is not an IP address", "write 0.0.0.0:PORT or [::]:PORT for every interface")
    return f"{bracketed(str(address))}:{0 if port == '0' else parse_port(port)}"


def _listen(value: object) -> str:
    return format_listen_address(_of_type(value, str, 'an address as text, like "127.0.0.1:9464"'))


def _capabilities(value: object) -> tuple[str, ...]:
    texts = [_of_type(item, str, "text") for item in _of_type(value, list, "a list of capabilities")]
    return tuple(str(capability) for capability in parse_capabilities(texts))


def _factors(value: object) -> tuple[str, ...]:
    items = _of_type(value, list, "a list of second factors")
    return parse_factors(_of_type(item, str, "text") for item in items)


def _count(value: object) -> int:
    number = _of_type(value, int, "a whole number")
    if number < 1:
        raise Fault(f"{number} is too small", "at least 1")
    return number


def _each(parse: Callable[[str], T]) -> Callable[[object], tuple[T, ...]]:
    def read(value: object) -> tuple[T, ...]:
        items = _of_type(value, list, "a list of texts")
        if len(items) > MAX_SERVERS:
            raise Fault(f"more than {MAX_SERVERS} are of no use")
        return tuple(dict.fromkeys(parse(_of_type(item, str, "text")) for item in items))

    return read


def _path(value: object) -> Path:
    return Path(_of_type(value, str, "a path as text")).expanduser()


def _limit(value: object) -> int:
    number = _of_type(value, int, "a whole number")
    if number < 0:
        raise Fault(f"{number} is too small", "0 is no limit")
    return number


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Fault("expected true or false")
    return value


def _size(value: object) -> int:
    size = parse_size(_of_type(value, str, 'a size as text, like "16MiB"'))
    if not _LEAST_REPLAY <= size <= _MOST_REPLAY:
        raise Fault("a replay buffer is from 64KiB to 1GiB")
    return size


def _duration_or_none(value: object) -> float:
    return 0.0 if value in ("0", "0s") else _duration(value)


def _duration(value: object) -> float:
    return parse_duration(_of_type(value, str, 'a duration as text, like "90s" or "1h"'))


def _of_type(value: object, kind: type[T], expected: str) -> T:
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    raise Fault(f"expected {expected}, found {_TYPE_NAMES.get(type(value), 'a date or time')}")


_TYPE_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
}


def _comparable(url: str) -> str:
    return url.lower().rstrip("/")


def _read(path: Path) -> tuple[bytes, int] | None:
    """The file's content and permission bits; None if there is no file."""
    try:
        # Not to wait for ever if someone put a FIFO there.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise IroshError(ErrorCode.INVALID_CONFIG, f"{path} is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(MAX_SIZE + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IroshError(
            ErrorCode.INVALID_CONFIG,
            f"cannot read {path}: {error.strerror}",
            "check who owns it and its mode",
        ) from None
    if len(content) > MAX_SIZE:
        raise IroshError(ErrorCode.INVALID_CONFIG, f"{path} is larger than {MAX_SIZE} bytes")
    return content, stat.S_IMODE(status.st_mode)


def _parse_toml(path: Path, content: bytes) -> dict[str, object]:
    import tomllib  # here, as most commands find no file

    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise IroshError(ErrorCode.INVALID_CONFIG, f"{path}, line {line}: not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise IroshError(
            ErrorCode.INVALID_CONFIG,
            f"{path}: not valid TOML: {escape(str(error), 200)}",
            "see https://toml.io",
        ) from None
