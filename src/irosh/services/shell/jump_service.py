"""The service of a hop: leads a peer on to another peer, or to an SSH server, without a part in what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from irosh.core.capability import parse_source
from irosh.core.errors import ErrorCode, IroshError
from irosh.node.actions import Action, Reach, Use
from irosh.node.control import Operation
from irosh.node.node import Node
from irosh.node.services import IncomingStream
from irosh.services.shell.messages import GuestRequest, JumpRequest
from irosh.services.shell.onward import way_to_peer, way_to_server


class JumpService:
    """Service ``jump``; see :class:`irosh.node.services.Service`."""

    name = "jump"
    request_type = JumpRequest

    def __init__(self) -> None:
        self._node: Node | None = None

    def operations(self, node: Node) -> dict[str, Operation]:
        """None; but the node is who leads on."""
        self._node = node
        return {}

    def required(self, request: Any) -> Sequence[Action]:
        assert isinstance(request, JumpRequest)
        if (request.peer is None) == (request.server is None):
            raise IroshError(ErrorCode.PROTOCOL, "a jump leads either to a peer or to a server")
        if request.server is None:
            return (Use(("jump",)),)
        spec = parse_source(request.server)
        if spec.protocol != "tcp":
            raise IroshError(ErrorCode.PROTOCOL, "SSH servers are reached by TCP")
        return (Reach("gateway", spec),)

    async def serve(self, incoming: IncomingStream) -> None:
        assert self._node is not None
        action = incoming.grants[0].action
        try:
            if isinstance(action, Reach):
                way = await way_to_server(action.spec, incoming.grants[0].addresses)
            else:
                way = await way_to_peer(self._node, incoming.request.peer, "guest", GuestRequest())
        except IroshError as error:
            await incoming.refuse(error)
            return
        try:
            await incoming.accept()
        except BaseException:
            await way.stream.abort()
            raise
        await way.carry(incoming.stream)
