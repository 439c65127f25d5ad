"""Accepting local programs, and carrying each to a source of the peer: what every kind of tunnel does."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec
from irosh.node.peer_connection import PeerConnection
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.interfaces import SpliceCounters
from irosh.transport.sockets import client_name, tune

Connect = Callable[[], Awaitable[PeerConnection]]
_PAUSE = 0.2  # seconds


async def accept_each(
    listener: socket.socket, take: Callable[[socket.socket, str], object], crowded: Callable[[IroshError], None]
) -> None:
    """Hand each connection, and what it is called in messages, to ``take``, until cancelled.

    ``crowded`` hears when there are no files left to accept with.
    """
    loop = asyncio.get_running_loop()
    while True:
        try:
            client, address = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno == errno.ECONNABORTED:
                continue  # whoever it was has left already
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            reason = f"cannot take more connections: {error.strerror}"
            crowded(IroshError(ErrorCode.BUSY, reason, "raise `ulimit -n`"))
            await asyncio.sleep(_PAUSE)  # until connections end there is nothing to accept with
            continue
        take(client, client_name(address))


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
