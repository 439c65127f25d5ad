"""The one place where capabilities are matched against what a peer asks. Whatever no rule permits is denied.

The rules for addresses, all of which hold for every rule text alike:

* A host name is resolved once, by the caller, before the question; the answer names the addresses to use, so
  what was checked is what is connected to, and a second look-up cannot give another one (DNS rebinding).
* An IPv4-mapped IPv6 address is the IPv4 address. ``0.0.0.0`` and ``::`` connect to the local host, so to
  connect to them is to connect to loopback; to *listen* on them is to listen on every interface, which only a
  rule for every address, or one that writes exactly this address, permits.
* An IPv6 address that carries an IPv4 address for a translator or a tunnel (NAT64, 6to4, Teredo...) is
  permitted only if the address itself and the one it carries both are.
* A rule that names a host permits requests for exactly this name (any case, with or without the final dot),
  not for its addresses. The host's owner wrote the name and the host's own resolver answers for it, so the
  answer may be any address, private ones too, but for those which no remote name has a reason to mean:
  loopback, link-local, multicast, reserved and unspecified ones, and those where clouds tell a machine its own
  secrets. Otherwise whoever runs the name's DNS zone could turn the rule into access to the host itself. A rule
  for these addresses permits them as ever.
  ``localhost`` and names that end in ``.localhost`` are the reverse: loopback addresses only (RFC 6761).
* Packets (``vpn``) to loopback, link-local, multicast, reserved and unspecified addresses, and to those where clouds
  tell a machine its own secrets, need a rule that writes such an address or a network within their range; a rule
  for a larger network, ``*`` and ``all`` leave them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Literal

from irosh.core.addresses import (
    IPAddress,
    IPNetwork,
    ScopedAddress,
    carried_ipv4,
    host_name,
    loopback_for,
    parse_ip,
)
from irosh.core.capability import Capability, SocketKind, is_user_name
from irosh.core.file_tree import EVERYTHING, FileTree
from irosh.core.socket_spec import LONGEST_PATH, SocketSpec
from irosh.core.wildcards import matches

PlainCapability = Literal[
    "shell",
    "exec",
    "files",
    "forward",
    "listen",
    "agent",
    "jump",
    "gateway",
    "share",
    "telemetry",
    "vpn",
    "join",
]

_KEPT_BACK: tuple[IPNetwork, ...] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
        *("::/128", "::1/128", "fe80::/10", "ff00::/8"),
        # Metadata services that are not link-local: Alibaba, Azure, Oracle, AWS by IPv6, Google by IPv6.
        *("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
    )
)


def permits(capabilities: Iterable[Capability], name: PlainCapability) -> bool:
    """Whether ``name`` is granted; for those that say more, such as ``forward``: whether anything is."""
    return any(rule.kind in (name, "all") for rule in capabilities)


def file_trees(capabilities: Iterable[Capability]) -> tuple[FileTree, ...]:
    """The trees the peer may use, none of them covered by another; just :data:`EVERYTHING` when all is granted.

    As everywhere, rules add up: a tree granted for writing stays so where a rule for reading is about a part of it.
    """
    trees = [rule.tree or EVERYTHING for rule in capabilities if rule.kind in ("files", "all")]
    distinct = dict.fromkeys(trees)
    return tuple(tree for tree in distinct if not any(other != tree and other.covers(tree) for other in distinct))


def permits_user(capabilities: Iterable[Capability], user: str) -> bool:
    """Whether the peer may ask for the Unix user ``user``; never for what cannot be a user's name."""
    return is_user_name(user) and any(
        rule.kind == "all" or (rule.kind == "user" and rule.user in (user, "*")) for rule in capabilities
    )


def permits_joining(capabilities: Iterable[Capability], session: str) -> bool:
    """Whether the peer may take part in the shared session with this id: by invitation, not by ``all``."""
    return any(rule.kind == "join" and rule.session == session for rule in capabilities)


def permits_unix(capabilities: Iterable[Capability], kind: SocketKind, real_path: str) -> bool:
    """Whether the Unix socket at ``real_path`` may be connected to or listened on.

    ``real_path`` is absolute, with symbolic links resolved by the caller (``os.path.realpath``). A path that
    is not in normal form is refused, as are the abstract names of Linux.
    """
    if not _is_normal_path(real_path):
        return False
    segments = real_path.split("/")
    return any(
        rule.kind == "all" or (rule.kind == kind and rule.protocol == "unix" and _path_matches(rule.path, segments))
        for rule in capabilities
    )


def may_permit(capabilities: Iterable[Capability], kind: SocketKind, spec: SocketSpec) -> bool:
    """Whether any rule is about such a socket at all; if not, its host name need not even be resolved."""
    if spec.protocol == "unix":
        return any(rule.kind == "all" or (rule.kind == kind and rule.protocol == "unix") for rule in capabilities)
    return any(_applies(rule, kind, spec) for rule in capabilities)


def permitted_addresses(
    capabilities: Iterable[Capability], kind: SocketKind, spec: SocketSpec, resolved: Sequence[str]
) -> list[str]:
    """Those addresses of ``spec`` which the policy permits, in order, in the form to connect to or listen on.

    ``resolved`` holds what the resolver answered for a host name. A host that is an IP address is its own
    resolution, and ``resolved`` is not looked at. The addresses come back normalised (see the module), a
    link-local one with its zone; text that is not an IP address is dropped. An empty list is a refusal.
    """
    if spec.protocol == "unix" or not 0 <= spec.port <= 65_535:
        return []
    rules = [rule for rule in capabilities if _applies(rule, kind, spec)]
    literal = parse_ip(spec.host)
    name = None if literal else host_name(spec.host)
    candidates = [literal] if literal else [parse_ip(text) for text in resolved]
    permitted: dict[str, None] = {}
    for candidate in candidates:
        if candidate is None:
            continue
        address = candidate
        if kind != "listen":
            address = replace(candidate, ip=loopback_for(candidate.ip))
        if _is_permitted(rules, address, name):
            permitted[str(address)] = None
    return list(permitted)


def seems_permitted(capabilities: Iterable[Capability], kind: SocketKind, spec: SocketSpec) -> bool:
    """Whether ``spec`` is permitted as far as can be told without looking up its name: only to say so beforehand."""
    if parse_ip(spec.host) is None:
        return may_permit(capabilities, kind, spec)
    return bool(permitted_addresses(capabilities, kind, spec, ()))


def permits_packet(capabilities: Iterable[Capability], destination: IPAddress) -> bool:
    """Whether packets to ``destination`` may be sent through this host."""
    address = destination
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return False  # never on a wire (RFC 4291); what a system makes of it is its own affair
    rules = [rule for rule in capabilities if rule.kind in ("vpn", "all")]
    stands_for: list[IPAddress] = [address, *carried_ipv4(address)]
    return all(any(_covers_packet(rule, ip) for rule in rules) for ip in stands_for)


def _covers_packet(rule: Capability, ip: IPAddress) -> bool:
    kept_back = [network for network in _KEPT_BACK if ip in network]
    if rule.kind == "all" or isinstance(rule.host, str):
        return not kept_back
    return ip in rule.host and all(_is_within(rule.host, network) for network in kept_back)


def _is_within(inner: IPNetwork, outer: IPNetwork) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _applies(rule: Capability, kind: SocketKind, spec: SocketSpec) -> bool:
    if rule.kind == "all":
        return True
    first, last = rule.ports
    return rule.kind == kind and rule.protocol == spec.protocol and first <= spec.port <= last


def _is_permitted(rules: Sequence[Capability], address: ScopedAddress, name: str | None) -> bool:
    """Every address that ``address`` stands for needs a rule; one rule need not permit them all."""
    stands_for: list[IPAddress] = [address.ip, *carried_ipv4(address.ip)]
    if address.ip == IPv6Address("::"):
        # A socket listening there takes IPv4 connections too, unless the system says otherwise.
        stands_for.append(IPv4Address(0))
    return all(any(_covers(rule, ip, name) for rule in rules) for ip in stands_for)


def _covers(rule: Capability, ip: IPAddress, name: str | None) -> bool:
    if rule.kind == "all" or rule.host == "*":
        return True
    if not isinstance(rule.host, str):
        return _every_interface(rule.host, ip) if ip.is_unspecified else ip in rule.host
    if rule.host != name:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return ip.is_loopback
    return not any(ip in network for network in _KEPT_BACK)


def _every_interface(network: IPNetwork, ip: IPAddress) -> bool:
    """Whether a rule for ``network`` means every interface, which ``ip``, unspecified, stands for."""
    if network.prefixlen == network.max_prefixlen:
        # "[::]" written out permits what a socket there does, IPv4 included.
        return network.network_address.is_unspecified and network.version >= ip.version
    return network.prefixlen == 0 and network.version == ip.version


def _is_normal_path(path: str) -> bool:
    if not path.startswith("/") or len(path) > LONGEST_PATH or "\0" in path:
        return False
    return not any(segment in ("", ".", "..") for segment in path[1:].split("/"))


def _path_matches(pattern: str, segments: Sequence[str]) -> bool:
    return matches(pattern.split("/"), segments, "**", lambda part, segment: matches(part, segment, "*", str.__eq__))
