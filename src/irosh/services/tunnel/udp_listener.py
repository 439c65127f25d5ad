"""A local UDP socket whose clients each get an association (RFC 4787's mapping) to the peer's source."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from irosh.core.errors import IroshError
from irosh.core.packet_framing import MAX_PACKET
from irosh.core.socket_spec import SocketSpec
from irosh.node.peer_connection import PeerConnection
from irosh.services.tunnel.associations import Associations
from irosh.transport.sockets import client_name
from irosh.transport.tasks import task_group

log = logging.getLogger(__name__)

MAX_FLOWS = 4096


class UdpListener:
    """Carries packets between the clients of ``listener`` and ``source``; :meth:`run` until cancelled."""

    def __init__(
        self,
        listener: socket.socket,
        source: SocketSpec,
        connect: Callable[[], Awaitable[PeerConnection]],
        refused: Callable[[SocketSpec, str, IroshError], None],
        idle: float,
    ) -> None:
        self._listener = listener
        self._source = source
        self._connect = connect
        self._refused = refused
        self._idle = idle

    async def run(self) -> None:
        """Serve until cancelled."""
        async with task_group() as group:
            clients = Associations(
                self._connect, self._to_client, self._client_refused, group, idle=self._idle, limit=MAX_FLOWS
            )
            await packets_of(self._listener, lambda packet, client: clients.send(client, self._source, packet))

    def _client_refused(self, client: Hashable, source: SocketSpec, error: IroshError) -> None:
        self._refused(source, client_name(client), error)

    def _to_client(self, client: Any, packet: bytes) -> None:
        try:
            self._listener.sendto(packet, client)
        except OSError as error:
            log.debug("udp to %s: %s", client_name(client), error)


async def packets_of(sock: socket.socket, receive: Callable[[bytes, Any], None]) -> None:
    """Call ``receive`` with each packet of ``sock`` and its sender, until cancelled."""
    loop = asyncio.get_running_loop()
    descriptor = sock.fileno()

    def readable() -> None:
        for _ in range(64):  # then let others run
            try:
                packet, sender = sock.recvfrom(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for an earlier answer
            receive(packet, sender)

    loop.add_reader(descriptor, readable)
    try:
        await loop.create_future()
    finally:
        loop.remove_reader(descriptor)
