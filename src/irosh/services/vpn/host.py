"""The host's side of a VPN: one interface for each client, and what of its packets may go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from irosh.core.errors import IroshError
from irosh.core.ip_packet import ICMP, ICMPV6, TCP, UDP, addresses_of, upper_of
from irosh.node.packet_filter import PacketFilter
from irosh.node.places import Places
from irosh.node.services import IncomingStream
from irosh.services.vpn.carrying import carry_packets
from irosh.services.vpn.host_network import INTERFACES, HostNetwork
from irosh.services.vpn.interface import configure_interface, fitting_mtu, follow_mtu, set_mtu
from irosh.services.vpn.messages import VpnRequest, VpnWelcome
from irosh.services.vpn.name_service import DNS_PORT
from irosh.services.vpn.pool import Lease, Pool
from irosh.services.vpn.system import has_global_ipv6
from irosh.services.vpn.tun import Tun, make_tun
from irosh.transport.framing import write_frame
from irosh.transport.session.lifetime import SessionLifetime
from irosh.transport.tasks import first_to_end

log = logging.getLogger(__name__)


async def serve_client(incoming: IncomingStream, network: HostNetwork, places: Places, keep: float) -> None:
    """Carry the packets of one client until it leaves, or tell it why not.

    It has left also when it gave no sign of life for ``keep`` seconds, though its session may go on after that.
    """
    client = _Client(incoming)
    try:
        with places.place(incoming.connection.peer_id):
            async with network.used() as pool:
                lease = pool.lease(client.request.wanted4, client.request.wanted6)
                try:
                    await first_to_end(client.serve(pool, lease), _gone(incoming.connection.session, keep))
                finally:
                    pool.release(lease)
    except IroshError as error:
        if client.accepted:
            raise
        await incoming.refuse(error)


class _Client:
    """One client, with an interface of its own."""

    def __init__(self, incoming: IncomingStream) -> None:
        self._incoming = incoming
        self._connection = incoming.connection
        self.request: VpnRequest = incoming.request
        self.accepted = False

    async def serve(self, pool: Pool, lease: Lease) -> None:
        pairs = [(str(pool.gateway4), str(lease.address4))]
        if has_global_ipv6():
            pairs.append((str(pool.gateway6), str(lease.address6)))
        mtu = fitting_mtu(self._connection)
        descriptor, device = make_tun(f"{INTERFACES}%d")
        tun = Tun(descriptor)
        try:
            await configure_interface(device, mtu, pairs)
            following = follow_mtu(self._connection, mtu, partial(set_mtu, device))
            await first_to_end(self._carry(tun, pool, lease, pairs), following)
        finally:
            tun.close()

    async def _carry(self, tun: Tun, pool: Pool, lease: Lease, pairs: Sequence[tuple[str, str]]) -> None:
        gate = HostGate(pool, lease, self._connection.authorizer.packet_filter(self._connection.peer_id))
        stream, number = self._incoming.stream, self.request.flow
        await self._incoming.accept()
        self.accepted = True
        await write_frame(stream, VpnWelcome(*(text for own, other in pairs for text in (other, own))))
        await carry_packets(tun, self._connection, stream, number, to_peer=gate.lets_in, from_peer=gate.lets_out)


async def _gone(session: SessionLifetime, keep: float) -> None:
    """Until the client gave no sign of life for ``keep`` seconds."""
    while not session.is_closed:
        await session.wait_down()
        left = keep - session.gap
        if session.is_down and left <= 0:
            log.info(
                "%s: no sign of life for %.0f s: its packets are carried no more", session.peer_id[:10], session.gap
            )
            return
        await asyncio.sleep(max(left, 0.1))  # it may be back by then, and gone again


class HostGate:
    """Which packets pass: out, to the networks; in, to the client."""

    def __init__(self, pool: Pool, lease: Lease, policy: PacketFilter) -> None:
        self._sources = {lease.address4.packed, lease.address6.packed}
        self._gateways = {pool.gateway4.packed, pool.gateway6.packed}
        self._policy = policy

    def lets_out(self, packet: bytes) -> bool:
        found = addresses_of(packet)
        if found is None or found.source not in self._sources:
            return False  # malformed, or as if from somebody else
        if found.destination in self._gateways:
            return _for_gateway(packet)
        return self._policy.permits(found.destination)

    def lets_in(self, packet: bytes) -> bool:
        found = addresses_of(packet)
        return found is not None and found.destination in self._sources


def _for_gateway(packet: bytes) -> bool:
    """The host's own address in the VPN is for names and for ping; what else listens there was granted to nobody."""
    upper = upper_of(packet)
    if upper is None:
        return False
    return upper.protocol in (ICMP, ICMPV6) or (upper.protocol in (TCP, UDP) and upper.destination_port == DNS_PORT)
