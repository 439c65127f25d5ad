"""UDP associations to sources of the peer, one for each key: a local client, or whom a packet is for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable

from irosh.core.errors import IroshError
from irosh.core.socket_spec import SocketSpec
from irosh.node.datagram_flow import DatagramFlow
from irosh.node.peer_connection import PeerConnection
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.interfaces import StreamReset

log = logging.getLogger(__name__)

MAX_WAITING = 64  # packets of an association that is being opened


class Associations:
    """``deliver`` gets each answer with its association's key, ``refused`` hears of associations that failed.

    The associations' tasks belong to ``group``. Each ends after ``idle`` seconds without a packet. Packets for more
    than ``limit`` associations at once are dropped.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[PeerConnection]],
        deliver: Callable[[Hashable, bytes], None],
        refused: Callable[[Hashable, SocketSpec, IroshError], None],
        group: asyncio.TaskGroup,
        *,
        idle: float,
        limit: int,
    ) -> None:
        self._connect = connect
        self._deliver = deliver
        self._refused = refused
        self._group = group
        self._idle = idle
        self._limit = limit
        self._flows: dict[Hashable, DatagramFlow | list[bytes]] = {}

    def send(self, key: Hashable, source: SocketSpec, packet: bytes) -> None:
        """Send ``packet`` by the association ``key``, which is opened to ``source`` if there is none."""
        entry = self._flows.get(key)
        if isinstance(entry, DatagramFlow):
            entry.send(packet)
        elif entry is not None:
            if len(entry) < MAX_WAITING:
                entry.append(packet)
        elif len(self._flows) < self._limit:
            self._flows[key] = [packet]
            self._group.create_task(self._associate(key, source))

    async def _associate(self, key: Hashable, source: SocketSpec) -> None:
        try:
            connection = await self._connect()
            number = connection.new_flow()
            opened = await connection.open("tunnel", TunnelRequest(str(source), flow=number))
            flow = DatagramFlow(
                connection,
                opened.stream,
                number,
                lambda packet: self._deliver(key, packet),
                idle=self._idle,
            )
            for packet in self._waiting(key):
                flow.send(packet)
            self._flows[key] = flow
            await flow.run(opened.answer())
        except IroshError as error:
            self._refused(key, source, error)
        except (StreamReset, OSError) as error:
            log.debug("udp association to %s: %s", source, error)
        finally:
            self._flows.pop(key, None)

    def _waiting(self, key: Hashable) -> list[bytes]:
        entry = self._flows.get(key)
        return entry if isinstance(entry, list) else []
