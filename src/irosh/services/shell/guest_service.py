"""The service for nodes that a peer brings: each gets a link of its own here, and proves itself who it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.policy import PlainCapability
from irosh.node.actions import Action, Use
from irosh.node.control import Operation
from irosh.node.node import Node
from irosh.node.services import IncomingStream
from irosh.services.shell.messages import GuestRequest

MAX_GUESTS = 64
"""That one peer may bring at once: each takes three UDP sockets."""


class GuestService:
    """Service ``guest``; see :class:`irosh.node.services.Service`. ``entry``: any of these lets a peer bring others."""

    name = "guest"
    request_type = GuestRequest

    def __init__(self, entry: tuple[PlainCapability, ...]) -> None:
        self._entry = entry
        self._brought: Counter[str] = Counter()
        self._node: Node | None = None

    def operations(self, node: Node) -> dict[str, Operation]:
        """None; but the node is who lets guests in."""
        self._node = node
        return {}

    def required(self, request: Any) -> Sequence[Action]:
        """Nothing that the guest itself may do here."""
        return (Use(self._entry),)

    async def serve(self, incoming: IncomingStream) -> None:
        assert self._node is not None
        bringer = incoming.connection.peer_id
        if self._brought[bringer] >= MAX_GUESTS:
            await incoming.refuse(IroshError(ErrorCode.BUSY, f"{MAX_GUESTS} guests of one peer are enough"))
            return
        self._brought[bringer] += 1
        try:
            await incoming.accept()
            await self._node.links.serve_guest(incoming.stream, incoming.petname)
        finally:
            self._brought[bringer] -= 1
            if not self._brought[bringer]:
                del self._brought[bringer]
