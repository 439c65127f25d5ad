"""A TUN interface with its addresses, and its MTU, which follows what the path takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from irosh.core.wire import FLOW_HEADER_SIZE
from irosh.node.peer_connection import PeerConnection
from irosh.services.vpn.messages import LEAST_MTU, MOST_MTU
from irosh.services.vpn.offload import LARGEST, MOST_SEGMENTS, SEGMENT_SIZE
from irosh.services.vpn.system import change

FOLLOWING = 5.0  # seconds
DISCOVERY = 2.0  # seconds that the engine may take to find out how large packets may be


def fitting_mtu(connection: PeerConnection) -> int:
    """The largest packet that goes as one datagram; or the least MTU, whose packets then go by the stream."""
    return min(MOST_MTU, max(LEAST_MTU, connection.session.max_datagram_size - FLOW_HEADER_SIZE - SEGMENT_SIZE))


async def discovered_mtu(connection: PeerConnection) -> int:
    """As :func:`fitting_mtu`, once the engine has had the time to look."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DISCOVERY
    while (mtu := fitting_mtu(connection)) == LEAST_MTU and loop.time() < deadline:  # noqa: ASYNC110 - the engine tells nobody
        await asyncio.sleep(0.1)
    return mtu


async def configure_interface(name: str, mtu: int, addresses: Sequence[tuple[str, str]]) -> None:
    """Set the interface up. ``addresses``: ours, and the other end's, to which it then has a route."""
    large = ("gso_max_size", str(LARGEST), "gso_max_segs", str(MOST_SEGMENTS))
    await change("ip", "link", "set", name, "mtu", str(mtu), *large, "up")
    for own, other in addresses:
        nodad = ["nodad"] if ":" in own else []
        await change("ip", "address", "add", own, "peer", other, "dev", name, *nodad)


async def set_mtu(name: str, mtu: int) -> None:
    """Of an interface that there is."""
    await change("ip", "link", "set", name, "mtu", str(mtu))


async def follow_mtu(connection: PeerConnection, mtu: int, changed: Callable[[int], Awaitable[None]]) -> None:
    """Have ``changed`` called whenever other packets than those of ``mtu`` fit, as after a change of the path."""
    while True:
        await asyncio.sleep(FOLLOWING)
        if connection.session.max_datagram_size and (fitting := fitting_mtu(connection)) != mtu:
            mtu = fitting
            await changed(mtu)
