"""Carrying a local program's connection to a source of the peer: what every kind of tunnel does."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from irosh.core.socket_spec import SocketSpec
from irosh.node.peer_connection import OpenedStream, PeerConnection
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.interfaces import SpliceCounters, Stream
from irosh.transport.sockets import tune


class Opened(Protocol):
    """A stream to a source. Bytes may be written at once; :meth:`answer` tells whether it leads there."""

    @property
    def stream(self) -> Stream: ...

    async def answer(self) -> None:
        """``IroshError`` with the reason when it does not."""


Connect = Callable[[], Awaitable[PeerConnection]]


async def carry(connect: Connect, source: SocketSpec, client: socket.socket, counters: SpliceCounters) -> None:
    """Carry ``client`` to ``source`` until both ends ended; it is closed.

    Bytes flow before the peer has answered. ``IroshError`` when it refuses; besides what ``connect`` raises.
    """

    async def open_stream() -> OpenedStream:
        return await (await connect()).open("tunnel", TunnelRequest(str(source)))

    await carry_by(open_stream, client, counters)


async def carry_by(
    open_stream: Callable[[], Awaitable[Opened]], client: socket.socket, counters: SpliceCounters
) -> None:
    """The same, where ``open_stream`` opens a stream to the source."""
    try:
        tune(client)
        opened = await open_stream()
        await opened.stream.splice(client, counters, opened.answer())
    finally:
        client.close()
