"""Capabilities: what a peer may do, as text and as values.

========================================  ===================================================================
``shell``, ``exec``                       an interactive shell; commands
``files``                                 the file service, for all that the account may touch
``files:/srv/share``                      the file service, for this tree only; ``files:/srv/share:ro`` to read it
``agent``                                 have its ssh-agent used in its sessions on the host
``user:NAME``, ``user:*``                 ask a host that runs as root for this (any) Unix user
``forward:tcp://127.0.0.0/8:*``           connect from the host to these addresses and ports (or ``udp://``)
``forward:tcp://[fd00::/8]:8000-8100``    IPv6 in brackets, a range of ports
``forward:tcp://db.internal:5432``        exactly this host name, as the host's own resolver answers for it
``forward:tcp://*:443``                   any address
``forward:unix:///run/*.sock``            Unix sockets by real path (no symbolic links): ``*`` within one path
                                          segment, ``**`` for any number of segments
``listen:tcp://127.0.0.1:*``              listen on the host; the same forms
``jump``                                  use the host as a hop: go on to its peers, or come here through one
``gateway:ssh://10.0.0.0/8:22``           go on from the host to SSH servers at these addresses and ports
``share``                                 share one's own terminal sessions on the host with others, by tickets
``telemetry``                             see how busy the host is: processor, memory, disk, network
``vpn:10.0.0.0/8``, ``vpn:fd00::/8``      send IP packets through the host to these addresses
``vpn:*``                                 to any address but those that :mod:`irosh.core.policy` keeps back
``all``                                   everything above
``join:ID``                               take part in the shared session ID, and nothing else
========================================  ===================================================================

This module only reads and writes them; :mod:`irosh.core.policy` is the one place that matches them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Network, IPv6Network, NetmaskValueError
from typing import Literal, get_args

from irosh.core.addresses import IPNetwork
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.file_tree import FileTree, parse_tree
from irosh.core.socket_spec import (
    Fault,
    Protocol,
    SocketSpec,
    bracketed,
    parse_name,
    parse_path,
    parse_port,
    parse_source,
    split_host_port,
    split_protocol,
)
from irosh.core.wording import did_you_mean, escape, quoted

__all__ = [
    "ANY_PORT",
    "DEFAULT_INVITE_CAPABILITIES",
    "KINDS",
    "Capability",
    "Kind",
    "SocketKind",
    "SocketSpec",
    "is_user_name",
    "parse_capabilities",
    "parse_capability",
    "parse_source",
]

SocketKind = Literal["forward", "listen", "gateway"]
Kind = Literal[
    "shell",
    "exec",
    "files",
    "agent",
    "jump",
    "user",
    "forward",
    "listen",
    "gateway",
    "share",
    "telemetry",
    "vpn",
    "all",
    "join",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

GATEWAY_SCHEME = "ssh"
"""What ``gateway`` capabilities have in place of ``tcp``: nothing else is spoken there."""

ANY_PORT = (0, 65_535)
"""What the port ``*`` stands for: also port 0, which asks a listener for any free port."""

DEFAULT_INVITE_CAPABILITIES: tuple[str, ...] = (
    "shell",
    "exec",
    "files",
    "forward:tcp://127.0.0.0/8:*",
    "forward:tcp://[::1]:*",
    "forward:udp://127.0.0.0/8:*",
    "forward:udp://[::1]:*",
    "listen:tcp://127.0.0.0/8:*",
    "listen:tcp://[::1]:*",
)
"""What an invite grants when its maker does not say: the host's own user, services on the host itself, and to listen
there for programs of the host itself, as sshd(8) lets its users by default."""

_LONGEST = 4200  # characters: a path of the longest kind and what stands before it
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+\\-]{0,63}\$?", re.ASCII)
_HAS_PORT = re.compile(r":[^:\]]*$")
_SESSION_ID = re.compile(r"[0-9a-f]{32}")
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class Capability:
    """One thing a peer may do. Build it with :func:`parse_capability`, which checks and canonicalises.

    ``str()`` gives the canonical text: ``parse_capability(str(c)) == c``.
    """

    kind: Kind
    user: str = ""
    """For ``user``: the name, ``*`` for any."""
    protocol: Protocol | None = None
    """For ``forward`` and ``listen``; ``tcp`` for ``gateway``."""
    host: str | IPNetwork = ""
    """For ``tcp`` and ``udp``: a network, a host name, or ``*`` for any address. For ``vpn``: a network or ``*``."""
    ports: tuple[int, int] = ANY_PORT
    """First and last port, both included."""
    path: str = ""
    """For ``unix``: the pattern of paths."""
    session: str = ""
    """For ``join``: the id of the shared session."""
    tree: FileTree | None = None
    """For ``files``: the only tree that is meant; None for everything."""

    def __str__(self) -> str:
        if self.kind == "join":
            return f"join:{self.session}"
        if self.kind == "user":
            return f"user:{self.user}"
        if self.tree is not None:
            return f"{self.kind}:{self.tree}"
        if self.kind == "vpn":
            return f"vpn:{self.host if isinstance(self.host, str) else _network_text(self.host)}"
        if self.protocol is None:
            return self.kind
        if self.protocol == "unix":
            return f"{self.kind}:unix://{self.path}"
        scheme = GATEWAY_SCHEME if self.kind == "gateway" else self.protocol
        return f"{self.kind}:{scheme}://{_host_text(self.host)}:{_ports_text(self.ports)}"


def parse_capabilities(texts: Iterable[str]) -> tuple[Capability, ...]:
    """Parse several capabilities, each kept once, in their order. Raises as :func:`parse_capability`."""
    return tuple(dict.fromkeys(parse_capability(text) for text in texts))


def parse_capability(text: str) -> Capability:
    """Parse one capability. Raises ``IroshError(INVALID_CAPABILITY)``, naming the part at fault."""
    try:
        return _parse(text)
    except Fault as fault:
        raise IroshError(
            ErrorCode.INVALID_CAPABILITY, f"capability {quoted(text)}: {fault.message}", fault.hint
        ) from None


def is_user_name(text: str) -> bool:
    """Whether ``text`` can name a Unix user (``DOMAIN\\user`` and ``user@domain`` too)."""
    return _USER.fullmatch(text) is not None


def _parse(text: str) -> Capability:
    if len(text) > _LONGEST:
        raise Fault(f"it is longer than {_LONGEST} characters")
    word, colon, argument = text.partition(":")
    kind = next((known for known in KINDS if known == word), None)
    if kind is None:
        raise Fault(f"unknown capability {quoted(word)}" if word else "it is empty", did_you_mean(word, KINDS))
    if kind == "user":
        if argument != "*" and not is_user_name(argument):
            raise Fault(f"{quoted(argument)} is not a user name", "write user:NAME, or user:* for any")
        return Capability("user", user=argument)
    if kind == "join":
        if not _SESSION_ID.fullmatch(argument):
            raise Fault(f"{quoted(argument)} is not the id of a shared session", "`irosh share` makes them")
        return Capability("join", session=argument)
    if kind == "forward" or kind == "listen":
        return _parse_sockets(kind, argument)
    if kind == "gateway":
        return _parse_gateway(argument)
    if kind == "files" and colon:
        return Capability(kind, tree=parse_tree(argument))
    if kind == "vpn":
        return Capability(kind, host=_parse_vpn_network(argument))
    if colon:
        raise Fault(f"{quoted(kind)} takes nothing after it", f"write {kind}")
    return Capability(kind)


def _parse_sockets(kind: SocketKind, text: str) -> Capability:
    if not text:
        raise Fault("it does not say which addresses", f"write it like {kind}:tcp://127.0.0.0/8:*")
    protocol, rest = split_protocol(text)
    if protocol == "unix":
        return Capability(kind, protocol="unix", path=_parse_path_pattern(rest))
    return _parse_addresses(kind, protocol, protocol, rest)


def _parse_gateway(text: str) -> Capability:
    scheme, separator, rest = text.partition("://")
    if scheme != GATEWAY_SCHEME or not separator:
        raise Fault("it does not begin with ssh://", "write it like gateway:ssh://10.0.0.0/8:22")
    return _parse_addresses("gateway", "tcp", GATEWAY_SCHEME, rest)


def _parse_addresses(kind: SocketKind, protocol: Protocol, scheme: str, rest: str) -> Capability:
    if not _HAS_PORT.search(rest):
        raise Fault("there is no port", f"write {kind}:{scheme}://{escape(rest, 80)}:* for any port")
    host_text, port_text = split_host_port(rest)
    host = _parse_host_pattern(host_text)
    if kind != "listen" and not isinstance(host, str) and _is_unspecified(host):
        raise Fault(
            f"{quoted(host_text)} is no address to connect to",
            "127.0.0.0/8 and [::1] are the host itself, * is any address",
        )
    return Capability(kind, protocol=protocol, host=host, ports=_parse_ports(port_text))


def _parse_vpn_network(text: str) -> str | IPNetwork:
    if text == "*":
        return text
    if not text:
        raise Fault("it does not say which addresses", "write it like vpn:10.0.0.0/8, or vpn:* for any")
    if text.startswith("[") and text.endswith("]"):
        return _parse_network(text[1:-1], True)
    return _parse_network(text, ":" in text)


def _parse_path_pattern(text: str) -> str:
    pattern = parse_path(text)
    for segment in pattern.split("/"):
        if "**" in segment and segment != "**":
            raise Fault(f"{quoted(segment)} mixes '**' with other characters", "make ** a segment of its own")
    return pattern


def _parse_host_pattern(text: str) -> str | IPNetwork:
    if text == "*":
        return text
    in_brackets = text.startswith("[")
    spelled = text[1:-1] if in_brackets else text
    if in_brackets or "/" in spelled or re.fullmatch(r"[0-9]+(\.[0-9]+){3}", spelled, re.ASCII):
        return _parse_network(spelled, in_brackets)
    if text.startswith("*."):
        raise Fault(f"{quoted(text)} names more than one host", "write each host's name in full")
    return parse_name(text)


def _parse_network(spelled: str, in_brackets: bool) -> IPNetwork:
    if "%" in spelled:
        raise Fault(f"{quoted(spelled)} names a zone", "leave out % and what follows: every zone is meant")
    base, slash, length = spelled.partition("/")
    longest = 128 if in_brackets else 32
    if slash and not (re.fullmatch(r"[0-9]{1,3}", length, re.ASCII) and int(length) <= longest):
        raise Fault(f"prefix length {quoted(length)} is not a number from 0 to {longest}")
    try:
        network: IPNetwork = IPv6Network(spelled) if in_brackets else IPv4Network(spelled)
    except (AddressValueError, NetmaskValueError):
        if in_brackets:
            raise Fault(f"{quoted(base)} is not an IPv6 address", "brackets are for IPv6, like [::1]") from None
        hint = (
            "put an IPv6 network in brackets, like [fd00::/8]"
            if ":" in base
            else "write it like 127.0.0.1 or 10.0.0.0/8"
        )
        raise Fault(f"{quoted(base)} is not an IPv4 address", hint) from None
    except ValueError:
        lax: IPNetwork = IPv6Network(spelled, False) if in_brackets else IPv4Network(spelled, False)
        raise Fault(
            f"{quoted(spelled)} has bits beyond its prefix length",
            f"write {lax} for the whole network or {base} for one address",
        ) from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        # Addresses of this range are normalised to IPv4 before they are matched: so is the rule.
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
    return network


def _is_unspecified(network: IPNetwork) -> bool:
    return network.prefixlen == network.max_prefixlen and network.network_address.is_unspecified


def _parse_ports(text: str) -> tuple[int, int]:
    if text == "*":
        return ANY_PORT
    first_text, dash, last_text = text.partition("-")
    first = parse_port(first_text)
    last = parse_port(last_text) if dash else first
    if last < first:
        raise Fault(f"port range {quoted(text)} runs backwards", f"write {last}-{first}")
    return first, last


def _host_text(host: str | IPNetwork) -> str:
    return host if isinstance(host, str) else bracketed(_network_text(host))


def _network_text(network: IPNetwork) -> str:
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)


def _ports_text(ports: tuple[int, int]) -> str:
    if ports == ANY_PORT:
        return "*"
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"
