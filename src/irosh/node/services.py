"""What a service is to the node, and the registry of services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.terms import Terms
from irosh.core.wire import answer_of
from irosh.node.actions import Action, Grant, Immediate
from irosh.node.verification import Verification
from irosh.transport.framing import write_frame
from irosh.transport.interfaces import Stream

if TYPE_CHECKING:
    from irosh.node.control import Operation
    from irosh.node.node import Node
    from irosh.node.peer_connection import PeerConnection


@dataclass(frozen=True)
class IncomingStream:
    """An authorized stream, handed to its service. The service answers once: :meth:`accept` or :meth:`refuse`."""

    connection: PeerConnection
    stream: Stream
    request: Any
    grants: tuple[Grant, ...]
    verification: Verification
    """What the peer has given beyond its identity."""

    @property
    def petname(self) -> str:
        """What the host calls the peer."""
        return self.connection.petname

    async def authorize(self, action: Action) -> Grant:
        """A further action inside this stream, decided where all are. ``IroshError`` (denied, …)."""
        return await self.connection.authorizer.authorize(self.connection.peer_id, action, self.verification)

    def authorize_now(self, action: Immediate) -> Grant:
        """As :meth:`authorize`, for actions that need no name resolved."""
        return self.connection.authorizer.authorize_now(self.connection.peer_id, action, self.verification)

    def terms(self) -> Terms | None:
        """What the peer has to heed besides its capabilities. ``IroshError`` when it may do nothing any more."""
        return self.connection.authorizer.terms(self.connection.peer_id, self.verification)

    def permits(self, action: Immediate) -> bool:
        """Whether the peer's capabilities let it; only to choose between ways, as nothing is used or audited."""
        return self.connection.authorizer.permits(self.connection.peer_id, action)

    async def accept(self) -> None:
        """Tell the opener that the service is ready."""
        await write_frame(self.stream, answer_of(None))

    async def refuse(self, error: IroshError) -> None:
        """Tell the opener why not, and end the stream."""
        await refuse_stream(self.stream, error)


async def refuse_stream(stream: Stream, error: IroshError) -> None:
    """Answer a stream with ``error`` and end it orderly, so that the answer is not lost to a reset."""
    await write_frame(stream, answer_of(error))
    await stream.finish()
    await stream.stop()


class Service(Protocol):
    """A service of the node. Stateless towards peers: all it needs comes with the stream."""

    @property
    def name(self) -> str: ...

    @property
    def request_type(self) -> type[msgspec.Struct]: ...

    def required(self, request: Any) -> Sequence[Action]:
        """The actions the peer must be allowed before the service sees a byte; each must be granted."""

    async def serve(self, incoming: IncomingStream) -> None:
        """Serve one stream until it ends. Cancelled when the connection ends."""

    def operations(self, node: Node) -> dict[str, Operation]:
        """The operations this service adds to the control socket of ``node``."""


class Registry:
    """The services of one node, by name."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = {service.name: service for service in services}

    @property
    def names(self) -> frozenset[str]:
        """Of all services."""
        return frozenset(self._services)

    def get(self, name: str) -> Service:
        """The service of that name. ``IroshError`` (unknown-service)."""
        try:
            return self._services[name]
        except KeyError:
            known = ", ".join(sorted(self._services))
            raise IroshError(
                ErrorCode.UNKNOWN_SERVICE,
                f"this node has no service {name[:60]!r}",
                f"it has {known}; a newer irosh may be needed",
            ) from None
