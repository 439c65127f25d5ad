"""Operation ``link.end``: a connection to a peer ends, or takes no further commands (``-O exit``, ``stop``)."""

from __future__ import annotations

from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.node import Node
from irosh.node.target_request import TargetRequest
from irosh.node.targets import resolve_target


class EndRequest(TargetRequest, kw_only=True):
    """``at_once``: whatever uses it ends too; otherwise it goes on for that, and others get one of their own."""

    at_once: bool


def end_operation(node: Node) -> Operation:
    """The operation for ``node``."""

    async def end(channel: Channel, request: dict[str, Any]) -> None:
        asked = parsed_request(request, EndRequest)
        destination = resolve_target(node.trust, node.identity.id, asked, None).destination
        ours = [each for each in node.links.there(destination) if each.dialed]
        if not ours:
            raise IroshError(ErrorCode.NOT_RUNNING, "the node that runs has no session with this peer")
        for connection in ours:
            if asked.at_once:
                connection.close(IroshError(ErrorCode.CLOSED, "the connection was ended by its user"))
            else:
                connection.retirement.begin()
        await channel.answer({"connections": len(ours)})

    return end
