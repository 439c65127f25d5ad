"""What the network this machine is in allows: addresses, NAT, relays, MTU; and what that means for connecting."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlsplit

from irosh.core.addresses import parse_ip
from irosh.core.errors import ErrorCode, IroshError
from irosh.rendezvous import nat_behaviour
from irosh.rendezvous.local_addresses import local_addresses
from irosh.rendezvous.nat_behaviour import Behaviour
from irosh.rendezvous.resolving import resolve_udp
from irosh.rendezvous.stun import Binding, StunClient, Survey, show, survey

log = logging.getLogger(__name__)

SURVEY_DEADLINE = 3.0
DETAILS_DEADLINE = 6.0
MAX_RELAYS = 16

T = TypeVar("T")


class Udp(StrEnum):
    """Whether UDP gets out to the internet, and back."""

    WORKS = "works"
    BLOCKED = "blocked"
    """No STUN server answers, though a relay does."""
    UNKNOWN = "unknown"
    """No STUN server answers, and nothing else does, or none was asked."""


@dataclass(frozen=True)
class FamilyReport:
    """IPv4 or IPv6. ``None`` and ``unknown``: could not be found out."""

    local: list[str]
    reflexive: list[str] = field(default_factory=list)
    """``ip:port`` as STUN servers see a socket of this machine."""
    servers: dict[str, float] = field(default_factory=dict)
    """STUN servers that answered, with the round trip time in seconds."""
    mapping: Behaviour = Behaviour.UNKNOWN
    filtering: Behaviour = Behaviour.UNKNOWN
    hairpin: bool | None = None
    mtu: int | None = None
    """Bytes of the largest IP packet that got to the STUN server, of the sizes tried."""
    problems: list[IroshError] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether a STUN server answered."""
        return bool(self.servers)


@dataclass(frozen=True)
class RelayReport:
    """One relay: its round trip time in seconds, or what is wrong with it."""

    url: str
    rtt: float | None = None
    problem: IroshError | None = None


@dataclass(frozen=True)
class Report:
    """All that was found out."""

    ipv4: FamilyReport
    ipv6: FamilyReport
    relays: list[RelayReport]

    @property
    def udp(self) -> Udp:
        """Whether UDP works."""
        if self.ipv4.works or self.ipv6.works:
            return Udp.WORKS
        asked = self.ipv4.problems or self.ipv6.problems
        return Udp.BLOCKED if asked and self.relay_works else Udp.UNKNOWN

    @property
    def relay_works(self) -> bool:
        """Whether any relay answers."""
        return any(relay.rtt is not None for relay in self.relays)

    @property
    def problems(self) -> list[IroshError]:
        """What went wrong; for a family that this machine does not have, nothing."""
        silent = not self.ipv4.works and not self.ipv6.works
        families = [family for family in (self.ipv4, self.ipv6) if family.works or (silent and family.local)]
        if silent and not families:
            families = [self.ipv4]
        found = [problem for family in families for problem in family.problems]
        found += [relay.problem for relay in self.relays if relay.problem is not None]
        return list({problem.message: problem for problem in found}.values())


async def check_network(
    stun_servers: Sequence[str], relays: Sequence[str], relay_token: Callable[[str], str | None]
) -> Report:
    """Look at everything side by side; about 10 s at most. What fails is in the report, nothing is raised."""
    ipv4, ipv6, measured = await asyncio.gather(
        _family("0.0.0.0", stun_servers),  # noqa: S104 - any interface
        _family("::", stun_servers),
        asyncio.gather(*(_relay(url, relay_token(url)) for url in relays[:MAX_RELAYS])),
    )
    return Report(ipv4, ipv6, list(measured))


async def _relay(url: str, token: str | None) -> RelayReport:
    from irosh.transport.relay.probe import measure_relay

    parts = urlsplit(url)
    try:
        # First by a resolver that does not outlive its deadline; the loop's own would be waited for at the end.
        await resolve_udp(parts.hostname or "", parts.port or 443, socket.AF_UNSPEC)
    except TimeoutError:
        problem = IroshError(
            ErrorCode.RELAY_UNREACHABLE, f"the relay {url} cannot be reached: no answer from DNS", "is there a network?"
        )
        return RelayReport(url, problem=problem)
    except OSError:
        log.debug("%s has no address", parts.hostname)  # as the probe will say
    try:
        return RelayReport(url, await measure_relay(url, token))
    except IroshError as error:
        return RelayReport(url, problem=error)


async def _family(bind: str, servers: Sequence[str]) -> FamilyReport:
    version = 6 if ":" in bind else 4
    own = frozenset(str(address) for address in local_addresses() if address.version == version)
    local = sorted(own)
    servers = [text for text in servers if _version_of(text) in (None, version)]
    if not servers:
        return FamilyReport(local)
    try:
        client = await StunClient.open(bind)
    except IroshError as error:  # a machine without IPv6
        return FamilyReport(local, problems=[error])
    try:
        found = await survey(client, servers, SURVEY_DEADLINE)
        port = client.local[1]
    finally:
        await client.close()
    if not found.bindings:
        return FamilyReport(local, problems=found.problems)
    mapping = nat_behaviour.mapping_by_servers(("", port), found.bindings, own)
    return await _details(bind, local, found, mapping)


async def _details(bind: str, local: list[str], found: Survey, mapping: Behaviour) -> FamilyReport:
    """With at least one server that answers: what only more questions can tell."""
    nearest = min(found.bindings.values(), key=lambda binding: binding.rtt)
    full = next((each for each in found.bindings.values() if _has_two_addresses(each)), None)
    no_nat = mapping is Behaviour.NONE
    by_rfc, filtering, hairpin, mtu = await asyncio.gather(
        _within(nat_behaviour.mapping(bind, full.source, full.other), mapping)
        if full is not None and full.other is not None and not no_nat
        else _already(mapping),
        _within(nat_behaviour.filtering(bind, full.source, full.other), Behaviour.UNKNOWN)
        if full is not None and full.other is not None
        else _already(Behaviour.UNKNOWN),
        _already(None) if no_nat else _within(nat_behaviour.hairpin(bind, nearest.source), None),
        _within(nat_behaviour.path_mtu(bind, nearest.source), None),
    )
    return FamilyReport(
        local=local,
        reflexive=[show(address) for address in found.mapped],
        servers={text: binding.rtt for text, binding in found.bindings.items()},
        mapping=mapping if by_rfc is Behaviour.UNKNOWN else by_rfc,
        filtering=filtering,
        hairpin=hairpin,
        mtu=mtu,
        problems=found.problems,
    )


def _version_of(server: str) -> int | None:
    """The IP version of a server that is named by its address."""
    host = parse_ip(server.rpartition(":")[0].strip("[]"))
    return None if host is None else host.ip.version


def _has_two_addresses(binding: Binding) -> bool:
    """Whether the server does RFC 5780 with another address and another port."""
    other = binding.other
    return other is not None and other[0] != binding.source[0] and other[1] != binding.source[1]


async def _within(work: Awaitable[T], otherwise: T) -> T:
    try:
        async with asyncio.timeout(DETAILS_DEADLINE):
            return await work
    except (TimeoutError, IroshError):
        return otherwise


async def _already(value: T) -> T:
    return value


def advice(report: Report) -> str:
    """One line: what will connect directly, and what needs a relay or TURN. Pure."""
    best = report.ipv4 if report.ipv4.works else report.ipv6
    relayed = "" if report.relay_works or not report.relays else " No relay answers."
    if report.udp is Udp.BLOCKED:
        return (
            "UDP is blocked here: connect through a relay (iroh-default, or custom and nostr with one); no direct path."
        )
    if not best.works:
        if not report.ipv4.local and not report.ipv6.local:
            return "No network: only this machine can be reached."
        if report.relay_works:
            return "Relays answer; without STUN servers nothing is known of direct paths."
        return (
            "No way to the internet was found: machines of the same network can still connect, by iroh-default (mDNS) "
            "or iroh-manual."
        )
    public = [each for each in (report.ipv4, report.ipv6) if each.mapping is Behaviour.NONE]
    if any(each.filtering is Behaviour.ENDPOINT_INDEPENDENT for each in public):
        return f"Reachable from everywhere: every mode connects directly, iroh-manual without an answer.{relayed}"
    if public:
        return f"A public address, perhaps behind a firewall: every mode connects directly to most peers.{relayed}"
    if best.mapping.symmetric:
        return (
            "A symmetric NAT: direct only to peers that are public or filter by address at most; others need a relay "
            f"(iroh-default, custom, nostr) or TURN (custom, nostr).{relayed}"
        )
    if best.mapping is Behaviour.UNKNOWN:
        return f"Behind a NAT of unknown kind: name a second --stun-server to learn it.{relayed}"
    if best.filtering in (Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ADDRESS_DEPENDENT):
        return f"A NAT that hole punching passes: every mode connects directly, to peers of every kind.{relayed}"
    return (
        "A NAT that hole punching passes: every mode connects directly, except to peers behind a symmetric NAT, which "
        f"need a relay or TURN.{relayed}"
    )
