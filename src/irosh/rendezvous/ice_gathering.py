"""Gathering ICE candidates (RFC 8445 section 5.1.1): host addresses, reflexive ones by STUN, relayed ones by TURN.

All servers are asked side by side with one deadline. What a silent or lying server did not give is told as a problem;
what the others and this machine's own addresses give is used all the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from aioice import stun, turn
from aioice.candidate import Candidate, candidate_priority
from aioice.ice import StunProtocol

from irosh.core.addresses import parse_ip
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import is_candidate_address, usable_candidates
from irosh.core.network_options import NetworkOptions, TurnServer
from irosh.core.socket_spec import split_host_port
from irosh.rendezvous.ice_agent import IceAgent
from irosh.rendezvous.local_addresses import local_addresses
from irosh.rendezvous.resolving import Address, resolve_udp

log = logging.getLogger(__name__)

GATHERING_DEADLINE = 3.0
SETTLE = 0.75  # seconds for slower servers and interfaces, once one has answered
KEEPALIVE = 15.0  # RFC 8445 section 11
TURN_DEADLINE = 5.0  # whoever names a TURN server needs it
TURN_BY_UDP = 1.0  # seconds of it, before TCP is tried
MAX_HOST_ADDRESSES = 5  # of each family
MAX_SERVERS = 4
# The permission that goes with a channel lasts 5 minutes (RFC 8656 section 9), less than the channel itself.
CHANNEL_REFRESH = 200


@dataclass
class Gathered:
    """``candidates`` are SDP lines for the peer; ``problems`` what servers did not do."""

    candidates: tuple[str, ...] = ()
    problems: list[IroshError] = field(default_factory=list)
    mappings: dict[StunProtocol, set[Address]] = field(default_factory=dict)
    """Reflexive addresses of each socket."""
    stun_server: Address | None = None
    """One that answered, for keeping mappings alive."""


async def gather(agent: IceAgent, options: NetworkOptions) -> Gathered:
    """Bind ``agent``'s sockets, but for what the options forbid, and find out what candidates it has."""
    await agent.bind([] if options.relay_only else _host_addresses(options.bind))
    found = Gathered()
    bases = agent.bases
    lines = [_line(base.local_candidate) for base in bases]
    await asyncio.gather(_ask_stun(options.stun_servers, bases, found), _allocate(options, agent, found))
    for base, addresses in found.mappings.items():
        # Without a NAT they are the same (section 5.1.3: redundant ones are left out).
        lines += [_line(_reflexive(base, address)) for address in sorted(addresses - {_own(base)})]
    lines += [_line(base.local_candidate) for base in agent.bases if base not in bases]
    found.candidates = usable_candidates(lines)
    return found


async def mapping_changed(found: Gathered) -> None:
    """Keep the mappings in the NAT alive; return once one is another than what was gathered."""
    server = found.stun_server
    while server is not None:
        await asyncio.sleep(KEEPALIVE)
        for base, addresses in list(found.mappings.items()):
            with suppress(stun.TransactionError, OSError):
                if await _mapping(base, server) not in addresses:
                    return
    await asyncio.Event().wait()


# --- this machine's addresses


def _host_addresses(bind: str) -> list[str]:
    """What to bind for the address of ``--bind``: that one, or all of this machine's, the most used first."""
    host = bind.rpartition(":")[0].strip("[]")
    asked = parse_ip(host)
    if asked is not None and not asked.ip.is_unspecified:
        return [str(asked)]
    addresses = [address for address in map(str, local_addresses()) if is_candidate_address(address)]
    defaults = {_default_source(socket.AF_INET, "192.0.2.1"), _default_source(socket.AF_INET6, "2001:db8::1")}
    addresses.sort(key=lambda address: address not in defaults)
    of_family = [[a for a in addresses if ip_address(a).version == version] for version in (4, 6)]
    chosen = [address for family in of_family for address in family[:MAX_HOST_ADDRESSES]]
    return chosen or ["127.0.0.1"]  # no network at all: the peer may be on this machine


def _default_source(family: socket.AddressFamily, destination: str) -> str:
    """The address of the default route's interface. Nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect((destination, 9))
        return str(probe.getsockname()[0])
    return ""


# --- STUN


async def _ask_stun(servers: Iterable[str], bases: list[StunProtocol], found: Gathered) -> None:
    """Ask all servers from all sockets that reach them."""
    asked = [base for base in bases if ip_address(base.local_candidate.host).version == 4]
    names = list(servers)[:MAX_SERVERS]
    if not asked or not names:
        return
    answered = asyncio.Event()
    tasks = [asyncio.ensure_future(_ask_one(server, asked, found, answered)) for server in names]
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(GATHERING_DEADLINE) as deadline:
                everything = asyncio.ensure_future(asyncio.wait(tasks))
                try:
                    first = asyncio.ensure_future(answered.wait())
                    await asyncio.wait((everything, first), return_when=asyncio.FIRST_COMPLETED)
                    first.cancel()
                    deadline.reschedule(asyncio.get_running_loop().time() + SETTLE)
                    await everything
                finally:
                    everything.cancel()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not found.mappings:
        found.problems.append(
            IroshError(
                ErrorCode.STUN_UNREACHABLE,
                f"no STUN server answers ({', '.join(names)}): this machine's address outside its NAT is not known",
                "--stun-server names another, --no-stun silences this",
            )
        )


async def _ask_one(server: str, bases: list[StunProtocol], found: Gathered, answered: asyncio.Event) -> None:
    try:
        host, port = split_host_port(server)
        address = await _resolved(host.strip("[]"), int(port), socket.AF_INET)
    except (OSError, TimeoutError) as error:
        log.info("STUN server %s: %r", server, error)
        return

    async def ask(base: StunProtocol) -> None:
        try:
            mapping = await _mapping(base, address)
        except (stun.TransactionError, OSError) as error:
            log.info("STUN server %s: %r", server, error)
            return
        if mapping is None:
            if not any(server in problem.message for problem in found.problems):
                found.problems.append(_lying(server))
            return
        found.mappings.setdefault(base, set()).add(mapping)
        found.stun_server = found.stun_server or address
        answered.set()

    inside = ip_address(address[0]).is_loopback
    await asyncio.gather(*(ask(base) for base in bases if ip_address(base.local_candidate.host).is_loopback == inside))


async def _resolved(host: str, port: int, family: socket.AddressFamily) -> Address:
    """The first address of a server. ``OSError`` or ``TimeoutError`` if it has none."""
    found = await resolve_udp(host, port, family)
    if not found:
        raise OSError(f"{host} has no address")
    return found[0]


async def _mapping(base: StunProtocol, server: Address) -> Address | None:
    """The address of ``base`` as ``server`` sees it; None if what it says cannot be."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    response, _ = await base.request(request, server, retransmissions=2)
    mapped = response.attributes.get("XOR-MAPPED-ADDRESS")
    if mapped is None or not is_candidate_address(mapped[0]) or not mapped[1] or ip_address(mapped[0]).version != 4:
        return None
    return mapped[0], mapped[1]


def _lying(server: str) -> IroshError:
    return IroshError(
        ErrorCode.STUN_INVALID,
        f"the STUN server {server} gives an address that no machine can have",
        "it is broken, or not what it says: name another with --stun-server",
    )


# --- TURN


async def _allocate(options: NetworkOptions, agent: IceAgent, found: Gathered) -> None:
    servers = options.turn_servers[:MAX_SERVERS]
    results = await asyncio.gather(*(_allocate_one(server, agent) for server in servers))
    found.problems += [problem for problem in results if problem is not None]


async def _allocate_one(server: TurnServer, agent: IceAgent) -> IroshError | None:
    """Add a relayed candidate to ``agent``; the problem if there is none. UDP first, TCP where that is blocked."""
    try:
        async with asyncio.timeout(TURN_DEADLINE):
            address = await _resolved(server.host, server.port, socket.AF_UNSPEC)
            try:
                async with asyncio.timeout(TURN_BY_UDP):
                    protocol = await _allocation(server, address, agent, "udp")
            except TimeoutError:
                protocol = await _allocation(server, address, agent, "tcp")
    except stun.TransactionFailed as error:
        code = error.response.error_code
        refused = code in (401, 403, 438, 441)
        return IroshError(
            ErrorCode.TURN_DENIED,
            f"the TURN server {server} refuses {'the user name or password' if refused else f'(error {code})'}",
            "check --turn-server USER:PASSWORD@HOST:PORT",
        )
    except (TimeoutError, stun.TransactionError, OSError) as error:
        log.info("TURN server %s: %r", server, error)
        return IroshError(
            ErrorCode.TURN_UNREACHABLE, f"the TURN server {server} does not answer", "does it run? Is the port right?"
        )
    agent.add_relayed(protocol)
    return None


async def _allocation(server: TurnServer, address: Address, agent: IceAgent, transport: str) -> StunProtocol:
    relaying, protocol = await turn.create_turn_endpoint(
        lambda: StunProtocol(agent),
        server_addr=address,
        username=server.username,
        password=server.password,
        channel_refresh_time=CHANNEL_REFRESH,
        transport=transport,
    )
    host, port = relaying.get_extra_info("sockname")
    protocol.local_candidate = _candidate("relay", f"turn|{server}", host, port)
    return protocol


# --- candidates


def _own(base: StunProtocol) -> Address:
    return base.local_candidate.host, base.local_candidate.port


def _reflexive(base: StunProtocol, address: Address) -> Candidate:
    return _candidate("srflx", base.local_candidate.host, *address)


def _candidate(kind: str, base: str, host: str, port: int) -> Candidate:
    foundation = hashlib.sha256(f"{kind}|{base}".encode()).hexdigest()
    return Candidate(foundation, 1, "udp", candidate_priority(1, kind), host, port, kind)


def _line(candidate: Candidate) -> str:
    """For the peer: with a short foundation, without the related address, which is only for diagnosis."""
    return (
        f"{candidate.foundation[:8]} 1 udp {candidate.priority} {candidate.host} {candidate.port} typ {candidate.type}"
    )
