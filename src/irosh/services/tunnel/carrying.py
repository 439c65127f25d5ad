"""Carrying a local program's connection to a source of the peer: what every kind of tunnel does."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

from irosh.core.socket_spec import SocketSpec
from irosh.node.peer_connection import PeerConnection
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.interfaces import SpliceCounters
from irosh.transport.sockets import tune

Connect = Callable[[], Awaitable[PeerConnection]]


async def carry(connect: Connect, source: SocketSpec, client: socket.socket, counters: SpliceCounters) -> None:
    """Carry ``client`` to ``source`` until both ends ended; it is closed.

    Bytes flow before the peer has answered. ``IroshError`` when it refuses; besides what ``connect`` raises.
    """
    try:
        tune(client)
        connection = await connect()
        opened = await connection.open("tunnel", TunnelRequest(str(source)))
        await opened.stream.splice(client, counters, opened.answer())
    finally:
        client.close()
