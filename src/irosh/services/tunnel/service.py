"""The host's side of tunnels: connects to the source that the peer asked for and that the policy granted."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Sequence
from typing import Any

from irosh.core.capability import parse_source
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.packet_framing import MAX_PACKET
from irosh.node.actions import Action, Reach
from irosh.node.control import Channel, Operation
from irosh.node.datagram_flow import DatagramFlow
from irosh.node.forward_way import FindWay
from irosh.node.node import Node
from irosh.node.places import Places
from irosh.node.services import IncomingStream
from irosh.services.tunnel.forwarding import Forwarding
from irosh.services.tunnel.messages import TunnelRequest
from irosh.services.tunnel.opening import serve_open_request
from irosh.services.tunnel.promises import Promises
from irosh.transport.interfaces import SpliceCounters
from irosh.transport.sockets import closed_on_failure, connect_source

log = logging.getLogger(__name__)

MAX_TUNNELS = 16_384  # of one peer: each takes an open file, of which a process has some 65,000


class TunnelService:
    """Service ``tunnel``; see :class:`irosh.node.services.Service`."""

    name = "tunnel"
    request_type = TunnelRequest

    def __init__(self, find_way: FindWay, *, udp_idle: float) -> None:
        self._find_way = find_way
        self._udp_idle = udp_idle
        self._places = Places(MAX_TUNNELS, "tunnels open")
        self.promises = Promises()
        self._forwarding: Forwarding | None = None

    def operations(self, node: Node) -> dict[str, Operation]:
        self._forwarding = Forwarding(node, self.promises, self._find_way, udp_idle=self._udp_idle)

        async def open_tunnels(channel: Channel, request: dict[str, Any]) -> None:
            await serve_open_request(node, channel, request, udp_idle=self._udp_idle)

        return {"tunnel.open": open_tunnels, **self._forwarding.operations()}

    async def aclose(self) -> None:
        """End the forwards that the node holds."""
        if self._forwarding is not None:
            await self._forwarding.aclose()

    def required(self, request: Any) -> Sequence[Action]:
        assert isinstance(request, TunnelRequest)
        return (Reach("forward", parse_source(request.source)),)

    async def serve(self, incoming: IncomingStream) -> None:
        request: TunnelRequest = incoming.request
        if request.probe:
            await incoming.accept()
            await incoming.stream.finish()
            return
        await self._places.serve(incoming, self._connect)

    async def _connect(self, incoming: IncomingStream) -> None:
        request: TunnelRequest = incoming.request
        grant = incoming.grants[0]
        assert isinstance(grant.action, Reach)
        spec = grant.action.spec
        try:
            sock = await connect_source(spec, grant.addresses)
        except IroshError as error:
            await incoming.refuse(error)
            return
        with closed_on_failure(sock):
            await incoming.accept()
        if spec.protocol == "udp":
            await self._serve_udp(incoming, sock, request.flow)
        else:
            await incoming.stream.splice(sock, SpliceCounters())

    async def _serve_udp(self, incoming: IncomingStream, sock: socket.socket, number: int | None) -> None:
        if number is None:
            sock.close()
            raise IroshError(ErrorCode.PROTOCOL, "a UDP tunnel needs a flow number")
        loop = asyncio.get_running_loop()

        def deliver(packet: bytes) -> None:
            try:
                sock.send(packet)
            except (BlockingIOError, ConnectionRefusedError):
                pass  # UDP: what the socket does not take now, or nobody waits for, is lost
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    log.debug("udp source: %s", error)

        flow = DatagramFlow(incoming.connection, incoming.stream, number, deliver, idle=self._udp_idle)

        def readable() -> None:
            for _ in range(64):  # then let others run
                try:
                    packet = sock.recv(MAX_PACKET)
                except BlockingIOError:
                    return
                except OSError:
                    continue  # an ICMP error for an earlier packet
                flow.send(packet)

        loop.add_reader(sock.fileno(), readable)
        try:
            await flow.run()
        finally:
            loop.remove_reader(sock.fileno())
            sock.close()
