"""The receiver's side of tunnels: listens for local programs and carries each connection to the source it named."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from irosh.core.capability import parse_source
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec, parse_listen, with_loopback
from irosh.node.control import Channel, parsed_request
from irosh.node.destination import Destination
from irosh.node.exchange import ChannelExchange
from irosh.node.kept_link import kept_link
from irosh.node.node import Node
from irosh.node.operations import path_summary
from irosh.node.peer_connection import PeerConnection
from irosh.services.tunnel.carrying import carry
from irosh.services.tunnel.messages import OpenRequest, TunnelRequest
from irosh.services.tunnel.udp_listener import UdpListener
from irosh.transport.interfaces import SpliceCounters, StreamReset
from irosh.transport.sockets import accept_each, bind_listener, bound_spec, close_listener
from irosh.transport.tasks import task_group

log = logging.getLogger(__name__)

Report = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class Mapping:
    """One ``SOURCE=LISTEN``: ``source`` on the peer's side appears at ``listen`` on ours."""

    source: SocketSpec
    listen: SocketSpec


def parse_mapping(source: str, listen: str) -> Mapping:
    """``IroshError`` (invalid-address) for a pair that cannot be joined."""
    parsed_source = parse_source(source)
    scheme = "udp" if parsed_source.protocol == "udp" else "tcp"
    parsed_listen = parse_listen(listen if "://" in listen else f"{scheme}://{with_loopback(listen)}")
    if (parsed_listen.protocol == "udp") != (parsed_source.protocol == "udp"):
        raise IroshError(
            ErrorCode.INVALID_ADDRESS,
            f"{parsed_source} cannot appear at {parsed_listen}",
            "datagrams (udp) and byte streams (tcp, unix) cannot be joined",
        )
    return Mapping(parsed_source, parsed_listen)


async def serve_open_request(node: Node, channel: Channel, request: dict[str, Any], *, udp_idle: float) -> None:
    """Operation ``tunnel.open``: tunnels that live as long as the client stays attached."""
    asked = parsed_request(request, OpenRequest)
    mappings = [parse_mapping(pair.source, pair.listen) for pair in asked.maps]
    idle = asked.udp_idle or udp_idle
    await channel.while_connected(_open(node, channel, asked, mappings, idle))


async def _open(node: Node, channel: Channel, asked: OpenRequest, mappings: Sequence[Mapping], udp_idle: float) -> None:
    reached = await node.reach(asked, ChannelExchange(channel))
    await channel.event("connected", peer=reached.peer.petname, id=reached.peer.id, **path_summary(reached.connection))
    async with (
        kept_link(node.links, reached.destination) as link,
        _listeners(mappings) as listeners,
    ):
        for mapping in mappings:
            await probe(reached.connection, mapping.source)
        tunnels = Tunnels(node, reached.destination, link.report, udp_idle)
        async with task_group() as group:
            for mapping, listener in listeners:
                group.create_task(tunnels.listen(mapping, listener))
                await channel.event("listening", source=str(mapping.source), listen=str(mapping.listen))
            await channel.event("ready")
            await link.tell(channel)


async def probe(connection: PeerConnection, source: SocketSpec) -> None:
    """Whether the peer's policy allows ``source``, asked before anything relies on it. ``IroshError`` (denied, …)."""
    opened = await connection.open("tunnel", TunnelRequest(str(source), probe=True))
    await opened.answer()
    await opened.stream.close()


@asynccontextmanager
async def _listeners(mappings: Sequence[Mapping]) -> AsyncIterator[list[tuple[Mapping, socket.socket]]]:
    bound: list[tuple[Mapping, socket.socket]] = []
    try:
        for mapping in mappings:
            sock = await bind_listener(mapping.listen)
            bound.append((Mapping(mapping.source, bound_spec(mapping.listen, sock)), sock))
        yield bound
    finally:
        for _, sock in bound:
            close_listener(sock)


@dataclass
class Tunnels:
    """The listeners of one ``tunnel.open``, all to one peer. A lost connection is dialled again when needed."""

    node: Node
    destination: Destination
    report: Report
    udp_idle: float

    async def listen(self, mapping: Mapping, listener: socket.socket) -> None:
        """Serve one listener until cancelled."""
        if mapping.listen.protocol == "udp":
            await UdpListener(listener, mapping.source, self._connection, self._refused, self.udp_idle).run()
        else:
            await self._accept(mapping, listener)

    async def _accept(self, mapping: Mapping, listener: socket.socket) -> None:
        def crowded(error: IroshError) -> None:
            self.report("refused", {"source": str(mapping.source), "error": error.to_dict()})

        async with task_group() as group:
            await accept_each(
                listener,
                lambda client, name: group.create_task(self._carry(mapping.source, client, name)),
                crowded,
            )

    async def _carry(self, source: SocketSpec, client: socket.socket, name: str) -> None:
        try:
            await carry(self._connection, source, client, SpliceCounters())
        except IroshError as error:
            self._refused(source, name, error)
        except (StreamReset, OSError) as error:
            log.debug("tunnel from %s: %s", name, error)

    async def _connection(self) -> PeerConnection:
        return await self.node.links.get(self.destination)

    def _refused(self, source: SocketSpec, name: str, error: IroshError) -> None:
        self.report("refused", {"source": str(source), "client": name, "error": error.to_dict()})
