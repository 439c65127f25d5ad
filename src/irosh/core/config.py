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
    revoked_keys = "/etc/irosh/revoked"  # keys and certificates that nobody gets in with, or a KRL; default: none
    require = ["password"]               # second factors of whom an invite lets in; default: none
    factor_attempts = 10                 # wrong answers in a row that lock a peer out
    factor_lifetime = "12h"              # what was given counts for this long; "0s": as long as the session lasts
    [tunnel]
    udp_idle = "60s"                     # a UDP flow is forgotten after this long without a packet
    [vpn]
    pool = "100.64.7.0/24"               # where clients of `irosh vpn` get addresses; default: by the identity
    pool6 = "fd00:7::/64"
    keep = "75s"                         # a client without a sign of life for so long is forgotten
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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType

from irosh.core import config_values as values
from irosh.core.capability import DEFAULT_INVITE_CAPABILITIES
from irosh.core.config_file import parse_toml, read_config_file
from irosh.core.config_table import Table
from irosh.core.durations import format_duration
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.network_options import (
    NetworkOptions,
    parse_nostr_relay,
    parse_stun_server,
    parse_turn_server,
)
from irosh.core.session_settings import SessionSettings
from irosh.core.sizes import format_size


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
    revoked_keys: Path | None = None
    """Keys and certificates that nobody gets in with; what cannot be read lets nobody in at all."""
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
    keep: float = 75.0
    """Seconds without a sign of life of a client after which it is forgotten."""


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
    found = read_config_file(path)
    if found is None:
        return Config()
    text, mode = found
    config = _config(Table(path, "", parse_toml(path, text)))
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
            "authorized_keys": _text_or_none(config.host.authorized_keys),
            "revoked_keys": _text_or_none(config.host.revoked_keys),
            "require": list(config.host.require),
            "factor_attempts": config.host.factor_attempts,
            "factor_lifetime": format_duration(config.host.factor_lifetime),
        },
        "tunnel": {"udp_idle": format_duration(config.tunnel.udp_idle)},
        "vpn": {
            "pool": _text_or_none(config.vpn.pool),
            "pool6": _text_or_none(config.vpn.pool6),
            "keep": format_duration(config.vpn.keep),
        },
        "session": {
            "keepalive": format_duration(config.session.keepalive),
            "dead_after": format_duration(config.session.dead_after),
            "resume": format_duration(config.session.resume_for),
            "replay_buffer": format_size(config.session.replay_buffer),
            "paths": str(config.session.paths),
        },
        "metrics": {"listen": config.metrics.listen},
    }


def _config(root: Table) -> Config:
    config = Config(
        network=_network(root.table("network")),
        relay_tokens=MappingProxyType(root.table("relay_tokens").take_all(values.relay_url, values.token)),
        host=_host(root.table("host")),
        tunnel=_tunnel(root.table("tunnel")),
        vpn=_vpn(root.table("vpn")),
        session=_session(root.table("session")),
        metrics=_metrics(root.table("metrics")),
    )
    root.end()
    return config


def _network(table: Table) -> NetworkOptions:
    default = NetworkOptions()
    network = NetworkOptions(
        relays=table.take("relays", values.relays, default.relays),
        bind=table.take("bind", values.bind, default.bind),
        stun_servers=table.take("stun_servers", values.each(parse_stun_server), default.stun_servers),
        turn_servers=table.take("turn_servers", values.each(parse_turn_server), default.turn_servers),
        nostr_relays=table.take("nostr_relays", values.each(parse_nostr_relay), default.nostr_relays),
        nsec_file=table.take("nsec_file", values.path, default.nsec_file),
        max_sessions=table.take("max_sessions", values.limit, default.max_sessions),
        mdns=table.take("mdns", values.flag, default.mdns),
    )
    table.end()
    return network


def _host(table: Table) -> HostConfig:
    default = HostConfig()
    host = HostConfig(
        allow=table.take("allow", values.capabilities, default.allow),
        invite_uses=table.take("invite_uses", values.count, default.invite_uses),
        invite_expires=table.take("invite_expires", values.duration, default.invite_expires),
        authorized_keys=table.take("authorized_keys", values.path, default.authorized_keys),
        revoked_keys=table.take("revoked_keys", values.path, default.revoked_keys),
        require=table.take("require", values.factors, default.require),
        factor_attempts=table.take("factor_attempts", values.count, default.factor_attempts),
        factor_lifetime=table.take("factor_lifetime", values.duration_or_none, default.factor_lifetime),
    )
    table.end()
    return host


def _text_or_none(value: object | None) -> str | None:
    return None if value is None else str(value)


def _vpn(table: Table) -> VpnConfig:
    vpn = VpnConfig(
        pool=table.take("pool", values.pool4, None),
        pool6=table.take("pool6", values.pool6, None),
        keep=table.take("keep", values.duration, VpnConfig().keep),
    )
    table.end()
    return vpn


def _tunnel(table: Table) -> TunnelConfig:
    tunnel = TunnelConfig(udp_idle=table.take("udp_idle", values.duration, TunnelConfig().udp_idle))
    table.end()
    return tunnel


def _session(table: Table) -> SessionSettings:
    default = SessionSettings()
    session = SessionSettings(
        keepalive=table.take("keepalive", values.duration, default.keepalive),
        dead_after=table.take("dead_after", values.duration, default.dead_after),
        resume_for=table.take("resume", values.duration_or_none, default.resume_for),
        replay_buffer=table.take("replay_buffer", values.size, default.replay_buffer),
        paths=table.take("paths", values.paths, default.paths),
    )
    table.end()
    if session.dead_after <= session.keepalive:
        # Whoever is only silent would be given up before it is asked.
        asked = f"it has to be longer than keepalive, {format_duration(session.keepalive)}"
        raise table.invalid("dead_after", asked, "twice as long is a good choice")
    return session


def _metrics(table: Table) -> MetricsConfig:
    metrics = MetricsConfig(listen=table.take("listen", values.listen, MetricsConfig().listen))
    table.end()
    return metrics


def _comparable(url: str) -> str:
    return url.lower().rstrip("/")
