"""The client's side of a VPN in the node: packets between the command's interface and one session after the other.

The command sets up the machine (:mod:`irosh.services.vpn.machine`) once it has heard of the addresses (event
``welcome``), and hands over the descriptor of the interface.
"""

from __future__ import annotations

import asyncio
import os
from ipaddress import ip_address
from typing import Any

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ip_packet import addresses_of
from irosh.node.control import Channel, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.link_events import link_events
from irosh.node.links import ENDS
from irosh.node.node import Node, Reached
from irosh.node.operations import path_summary
from irosh.node.peer_connection import PeerConnection
from irosh.node.redialling import backoff
from irosh.services.vpn.carrying import carry_packets
from irosh.services.vpn.interface import discovered_mtu, follow_mtu
from irosh.services.vpn.machine import checked_welcome
from irosh.services.vpn.messages import OpenRequest, VpnRequest, VpnWelcome
from irosh.services.vpn.routing import Wanted, parse_routes
from irosh.services.vpn.tun import Tun
from irosh.transport.framing import read_frame
from irosh.transport.interfaces import ConnectionLost, StreamReset, lost
from irosh.transport.tasks import first_to_end

WELCOME_DEADLINE = 30.0
SETUP_DEADLINE = 120.0  # for the command, which runs a dozen programs
MAX_SOURCES = 4096
_LET_GO = "the peer carries no packets any more"


async def serve_open_request(node: Node, channel: Channel, request: dict[str, Any]) -> None:
    """Operation ``vpn.open``: a tunnel that lives as long as the client stays attached."""
    asked = parsed_request(request, OpenRequest)
    wanted = Wanted(parse_routes(asked.routes), asked.everything)
    with channel.descriptors() as descriptors:
        await channel.while_connected(_open(node, channel, asked, ClientTunnel(channel, wanted, descriptors)))


async def _open(node: Node, channel: Channel, asked: OpenRequest, tunnel: ClientTunnel) -> None:
    reached = await node.reach(asked, ChannelExchange(channel))
    summary = path_summary(reached.connection)
    await channel.event("connected", peer=reached.peer.petname, id=reached.peer.id, **summary)
    try:
        await _keep_open(node, channel, reached, tunnel)
    finally:
        tunnel.close()


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
                await tunnel.carry(connection)
            raise lost(_LET_GO)
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
    """The interface, handed over with the first session and kept over further ones."""

    def __init__(self, channel: Channel, wanted: Wanted, descriptors: asyncio.Queue[int]) -> None:
        self._channel = channel
        self._wanted = wanted
        self._descriptors = descriptors
        self._tun: Tun | None = None
        self._welcome = VpnWelcome("", "")

    @property
    def is_open(self) -> bool:
        """Whether packets already go this way."""
        return self._tun is not None

    async def carry(self, connection: PeerConnection) -> None:
        """Until the session ends, or the peer has let go of this client (``ConnectionLost``)."""
        number = connection.new_flow()
        request = VpnRequest(number, self._welcome.address4, self._welcome.address6)
        opened = await connection.open("vpn", request)
        try:
            await opened.answer()
            welcome = checked_welcome(await read_frame(opened.stream, VpnWelcome, deadline=WELCOME_DEADLINE))
            mtu = await discovered_mtu(connection)
            if self._tun is None:
                self._tun = await self._handed_over(welcome, mtu)
            elif welcome != self._welcome:
                raise IroshError(
                    ErrorCode.ADDRESS_CONFLICT, "the peer now gives other addresses", "begin again: irosh vpn"
                )
            else:
                await self._channel.event("mtu", mtu=mtu)
                await self._channel.event("restored")
            gate = ClientGate(welcome, self._wanted)
            carrying = carry_packets(
                self._tun, connection, opened.stream, number, to_peer=gate.lets_out, from_peer=gate.lets_in
            )
            await first_to_end(carrying, follow_mtu(connection, mtu, self._tell_mtu))
        except StreamReset:
            raise lost(_LET_GO) from None
        finally:
            await opened.stream.abort()

    def close(self) -> None:
        """Let go of the interface."""
        if self._tun is not None:
            self._tun.close()
            self._tun = None

    async def _handed_over(self, welcome: VpnWelcome, mtu: int) -> Tun:
        await self._channel.event("welcome", addresses=msgspec.to_builtins(welcome), mtu=mtu)
        try:
            async with asyncio.timeout(SETUP_DEADLINE):
                descriptor = await self._descriptors.get()
        except TimeoutError:
            raise IroshError(ErrorCode.TIMEOUT, "the command has handed over no interface") from None
        os.set_blocking(descriptor, False)
        self._welcome = welcome
        return Tun(descriptor)

    async def _tell_mtu(self, mtu: int) -> None:
        await self._channel.event("mtu", mtu=mtu)


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
