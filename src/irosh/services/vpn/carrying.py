"""Between an interface and the peer: what both ends of a VPN do with each packet."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from irosh.node.datagram_flow import DatagramFlow
from irosh.node.peer_connection import PeerConnection
from irosh.services.vpn.offload import from_system, header_for, pack, unpack
from irosh.services.vpn.ordering import Ordering
from irosh.services.vpn.tun import Tun
from irosh.transport.interfaces import Stream

Gate = Callable[[bytes], bool]
"""Whether a packet passes."""


async def carry_packets(
    tun: Tun, connection: PeerConnection, stream: Stream, number: int, *, to_peer: Gate, from_peer: Gate
) -> None:
    """Carry packets between ``tun`` and flow ``number``, which goes with ``stream``, until that or the session ends."""
    ordering = Ordering()

    def arrived(data: bytes) -> None:
        offloaded = unpack(data)
        if offloaded is None or not from_peer(offloaded.packet):
            return
        header = header_for(offloaded)
        if header is not None:
            ordering.received(offloaded, time.monotonic())
            tun.send(header, offloaded.packet)

    flow = DatagramFlow(connection, stream, number, arrived, idle=math.inf)

    def leaves(data: bytes) -> None:
        offloaded = from_system(data)
        if offloaded is not None and to_peer(offloaded.packet):
            flow.send(pack(offloaded), ordered=ordering.by_stream(offloaded, time.monotonic()))

    tun.receive(leaves)
    await flow.run()
