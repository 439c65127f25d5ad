"""A local UDP socket whose clients each get an association (RFC 4787's mapping) to the peer's source."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from irosh.core.errors import IroshError
from irosh.core.socket_spec import SocketSpec
from irosh.node.peer_connection import PeerConnection
from irosh.services.tunnel.datagram_flow import DatagramFlow
from irosh.services.tunnel.messages import MAX_PACKET, TunnelRequest
from irosh.transport.interfaces import StreamReset
from irosh.transport.sockets import client_name
from irosh.transport.tasks import task_group

log = logging.getLogger(__name__)

MAX_FLOWS = 4096
MAX_WAITING = 64  # packets of a client whose association is being opened


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
        self._clients: dict[Any, DatagramFlow | list[bytes]] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        descriptor = self._listener.fileno()
        try:
            async with task_group() as group:
                loop.add_reader(descriptor, self._readable, group)
                await asyncio.get_running_loop().create_future()  # until cancelled
        finally:
            loop.remove_reader(descriptor)

    def _readable(self, group: asyncio.TaskGroup) -> None:
        for _ in range(64):  # then let others run
            try:
                packet, client = self._listener.recvfrom(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for an earlier answer
            self._from_client(client, packet, group)

    def _from_client(self, client: Any, packet: bytes, group: asyncio.TaskGroup) -> None:
        entry = self._clients.get(client)
        if isinstance(entry, DatagramFlow):
            entry.send(packet)
        elif entry is not None:
            if len(entry) < MAX_WAITING:
                entry.append(packet)
        elif len(self._clients) < MAX_FLOWS:
            self._clients[client] = [packet]
            group.create_task(self._associate(client))

    async def _associate(self, client: Any) -> None:
        try:
            connection = await self._connect()
            number = connection.new_flow()
            opened = await connection.open("tunnel", TunnelRequest(str(self._source), flow=number))
            flow = DatagramFlow(
                connection,
                opened.stream,
                number,
                lambda packet: self._to_client(client, packet),
                idle=self._idle,
            )
            for packet in self._waiting(client):
                flow.send(packet)
            self._clients[client] = flow
            await flow.run(opened.answer())
        except IroshError as error:
            self._refused(self._source, client_name(client), error)
        except (StreamReset, OSError) as error:
            log.debug("udp association of %s: %s", client_name(client), error)
        finally:
            self._clients.pop(client, None)

    def _waiting(self, client: Any) -> list[bytes]:
        entry = self._clients.get(client)
        return entry if isinstance(entry, list) else []

    def _to_client(self, client: Any, packet: bytes) -> None:
        try:
            self._listener.sendto(packet, client)
        except OSError as error:
            log.debug("udp to %s: %s", client_name(client), error)
