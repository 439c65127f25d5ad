"""The client's side of a VPN: its interface, its routes, and the packets, over one session after the other."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Any

from irosh.core.addresses import parse_ip
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ip_packet import addresses_of
from irosh.core.wording import quoted
from irosh.node.control import Channel, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.link_events import link_events
from irosh.node.links import ENDS
from irosh.node.node import Node, Reached
from irosh.node.operations import path_summary
from irosh.node.peer_connection import PeerConnection
from irosh.node.redialling import backoff
from irosh.services.vpn import underlay
from irosh.services.vpn.carrying import carry_packets
from irosh.services.vpn.guard import Guard
from irosh.services.vpn.interface import configure_interface, discovered_mtu
from irosh.services.vpn.messages import OpenRequest, VpnRequest, VpnWelcome
from irosh.services.vpn.pool import conflict
from irosh.services.vpn.resolver import use_name_servers
from irosh.services.vpn.routing import RULES, Wanted, changes, parse_routes
from irosh.services.vpn.system import FIRST_RULE, change, free_rules, has_ipv6, interfaces, known_networks, setting
from irosh.services.vpn.tun import Tun
from irosh.services.vpn.undo import Step
from irosh.transport.framing import read_frame
from irosh.transport.interfaces import ConnectionLost, StreamReset
from irosh.transport.tasks import to_the_end

log = logging.getLogger(__name__)

WELCOME_DEADLINE = 30.0
MAX_SOURCES = 4096
PEER_DNS = "peer"


async def serve_open_request(node: Node, channel: Channel, request: dict[str, Any]) -> None:
    """Operation ``vpn.open``: a tunnel that lives as long as the client stays attached."""
    asked = parsed_request(request, OpenRequest)
    wanted = Wanted(parse_routes(asked.routes), asked.everything)
    _check_servers(asked.dns or [])
    await channel.while_connected(_open(node, channel, asked, wanted))


def _check_servers(servers: list[str]) -> None:
    for text in servers:
        if text != PEER_DNS and parse_ip(text) is None:
            raise IroshError(ErrorCode.INVALID_ADDRESS, f"name server {quoted(text)} is not an IP address")


async def _open(node: Node, channel: Channel, asked: OpenRequest, wanted: Wanted) -> None:
    guard = underlay.prepared_guard()
    reached = await node.reach(asked, ChannelExchange(channel))
    tunnel = ClientTunnel(guard, wanted, asked.dns or [])
    summary = path_summary(reached.connection)
    await channel.event("connected", peer=reached.peer.petname, id=reached.peer.id, **summary)
    try:
        await _keep_open(node, channel, reached, tunnel)
    finally:
        await to_the_end(tunnel.close())


async def _keep_open(node: Node, channel: Channel, reached: Reached, tunnel: ClientTunnel) -> None:
    """Over one session after the other, until the peer says something that no redialling mends."""
    connection: PeerConnection | None = reached.connection
    pauses = backoff()
    error: IroshError
    while True:
        try:
            if connection is None:
                await asyncio.sleep(next(pauses))
                connection = await node.links.get(reached.destination)
            async with link_events(connection.session, channel):
                await tunnel.carry(connection, channel)
            raise IroshError(ErrorCode.CONNECTION_LOST, "the peer carries no packets any more")
        except ConnectionLost as reason:
            error = reason
            if connection is not None and tunnel.is_open:
                pauses = backoff()
        except IroshError as reason:
            if connection is not None or reason.code in ENDS:
                raise
            error = reason
        if not tunnel.is_open or error.code in ENDS:
            raise error
        await channel.event("retry" if connection is None else "lost", error=error.to_dict())
        connection = None


class ClientTunnel:
    """The interface with its routes, set up with the first session and kept over further ones. :meth:`close` undoes."""

    def __init__(self, guard: Guard, wanted: Wanted, servers: list[str]) -> None:
        self._guard = guard
        self._wanted = wanted
        self._servers = servers
        self._tun: Tun | None = None
        self._welcome = VpnWelcome("", "")

    @property
    def is_open(self) -> bool:
        """Whether packets already go this way."""
        return self._tun is not None

    async def carry(self, connection: PeerConnection, channel: Channel) -> None:
        """Until the session ends (``ConnectionLost``) or the peer ends it."""
        number = connection.new_flow()
        request = VpnRequest(number, self._welcome.address4, self._welcome.address6)
        opened = await connection.open("vpn", request)
        try:
            await opened.answer()
            welcome = checked_welcome(await read_frame(opened.stream, VpnWelcome, deadline=WELCOME_DEADLINE))
            mtu = await discovered_mtu(connection)
            if self._tun is None:
                await self._set_up(welcome, mtu)
                await channel.event("ready", **self._summary(mtu))
            elif welcome != self._welcome:
                raise IroshError(
                    ErrorCode.ADDRESS_CONFLICT, "the peer now gives other addresses", "begin again: irosh vpn"
                )
            else:
                await channel.event("restored")
            assert self._tun is not None
            gate = ClientGate(welcome, self._wanted)
            await carry_packets(
                self._tun, connection, opened.stream, number, mtu, to_peer=gate.lets_out, from_peer=gate.lets_in
            )
        except StreamReset:
            raise IroshError(ErrorCode.CONNECTION_LOST, "the peer carries no packets any more") from None
        finally:
            await opened.stream.abort()

    async def close(self) -> None:
        """Undo everything. Never raises."""
        if self._tun is not None:
            await asyncio.to_thread(self._guard.undo, self._tun.name)
            self._tun.close()
            self._tun = None

    async def _set_up(self, welcome: VpnWelcome, mtu: int) -> None:
        self._welcome = welcome
        own_ipv6 = has_ipv6()
        pairs = [(welcome.address4, welcome.gateway4)]
        if welcome.address6 and own_ipv6:
            pairs.append((welcome.address6, welcome.gateway6))
        found = conflict_of(pairs, await known_networks())
        if found is not None:
            raise IroshError(
                ErrorCode.ADDRESS_CONFLICT,
                f"the peer's address in the tunnel is in {found}, to which this machine has a route",
                "the peer's owner can set another vpn.pool",
            )
        resolved = underlay.machine_resolved()
        tun = self._tun = Tun("irosh%d")
        await configure_interface(tun.name, mtu, pairs)
        await self._loosen_filters(tun.name)
        planned = changes(
            tun.name,
            welcome,
            self._wanted,
            first_rule=await free_rules(RULES),
            first=FIRST_RULE,
            user=underlay.USER_ID,
            own_ipv6=own_ipv6,
        )
        for each in planned:
            await asyncio.to_thread(self._guard.add, tun.name, each.undo)
            await change(*each.command, given=each.given)
        servers = [address for text in self._servers for address in self._addresses(text)]
        if servers:
            await use_name_servers(self._guard, tun.name, tun.name, servers, resolved=resolved)

    def _addresses(self, server: str) -> list[str]:
        return [self._welcome.gateway4] if server == PEER_DNS else [server]

    async def _loosen_filters(self, use: str) -> None:
        """What comes outside the tunnel has no route back there by the ordinary rules: strict filters would drop it."""
        strict_all = setting("net/ipv4/conf/all/rp_filter") == "1"
        for name in interfaces():
            path = f"net/ipv4/conf/{name}/rp_filter"
            before = setting(path)
            if name in ("all", "default", "lo") or not (before == "1" or (strict_all and before == "0")):
                continue
            steps: list[Step] = [("write", [f"/proc/sys/{path}", before])]
            await asyncio.to_thread(self._guard.add, use, steps)
            await change("sysctl", "-qw", f"{path.replace('.', '/')}=2")

    def _summary(self, mtu: int) -> dict[str, Any]:
        assert self._tun is not None
        return {
            "device": self._tun.name,
            "mtu": mtu,
            "addresses": [text for text in (self._welcome.address4, self._welcome.address6) if text],
            "gateways": [text for text in (self._welcome.gateway4, self._welcome.gateway6) if text],
            "routes": [str(network) for network in self._wanted.routes],
            "everything": self._wanted.everything,
            "dns": [address for text in self._servers for address in self._addresses(text)],
        }


def conflict_of(pairs: list[tuple[str, str]], known: list[Any]) -> Any:
    """The first known network that has one of these addresses."""
    for text in (each for pair in pairs for each in pair):
        if (found := conflict(ip_network(text), known)) is not None:
            return found
    return None


def checked_welcome(welcome: VpnWelcome) -> VpnWelcome:
    """What the peer says goes into commands: nothing but addresses."""
    for text, version in (
        (welcome.address4, 4),
        (welcome.gateway4, 4),
        (welcome.address6, 6),
        (welcome.gateway6, 6),
    ):
        if version == 6 and not (welcome.address6 or welcome.gateway6):
            continue
        with suppress(ValueError):
            address = ip_address(text)
            special = address.is_loopback or address.is_multicast or address.is_link_local or address.is_unspecified
            if address.version == version and str(address) == text and not special and "%" not in text:
                continue
        raise IroshError(ErrorCode.PROTOCOL, f"the peer gives {quoted(text)} for an address")
    return welcome


class ClientGate:
    """Which packets pass: out, with our address; in, to it, from where the routes lead."""

    def __init__(self, welcome: VpnWelcome, wanted: Wanted) -> None:
        addresses = [text for text in (welcome.address4, welcome.address6) if text]
        gateways = [text for text in (welcome.gateway4, welcome.gateway6) if text]
        self._own = {ip_address(text).packed for text in addresses}
        self._gateways = {ip_address(text).packed for text in gateways}
        self._wanted = wanted
        self._known: dict[bytes, bool] = {}

    def lets_out(self, packet: bytes) -> bool:
        found = addresses_of(packet)
        return found is not None and found.source in self._own

    def lets_in(self, packet: bytes) -> bool:
        found = addresses_of(packet)
        return found is not None and found.destination in self._own and self._may_come_from(found.source)

    def _may_come_from(self, source: bytes) -> bool:
        if self._wanted.everything or source in self._gateways:
            return True
        known = self._known.get(source)
        if known is None:
            if len(self._known) >= MAX_SOURCES:
                self._known.clear()
            address = ip_address(source)
            known = self._known[source] = any(address in network for network in self._wanted.routes)
        return known
