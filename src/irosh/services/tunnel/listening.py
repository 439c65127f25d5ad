"""The host's side of ``-R``: listens where the policy lets it, and brings each connection to the peer that asked."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec, parse_listen
from irosh.node.actions import Action, Reach
from irosh.node.control import Operation
from irosh.node.node import Node
from irosh.node.peer_connection import PeerConnection
from irosh.node.services import IncomingStream
from irosh.services.tunnel.forward import listen_text
from irosh.services.tunnel.messages import ForwardedRequest, Listening, ListenRequest
from irosh.transport.framing import write_frame
from irosh.transport.interfaces import SpliceCounters, Stream, StreamReset
from irosh.transport.sockets import Bound, accept_each, bind_all, close_listener, tune
from irosh.transport.tasks import first_to_end, task_group

log = logging.getLogger(__name__)

MAX_ADDRESSES = 2  # of one forward: IPv4 and IPv6
MAX_LISTENERS = 256  # of one peer's session


class ListenService:
    """Service ``listen``; see :class:`irosh.node.services.Service`."""

    name = "listen"
    request_type = ListenRequest

    def __init__(self) -> None:
        self._listeners: Counter[PeerConnection] = Counter()

    def operations(self, node: Node) -> dict[str, Operation]:
        return {}

    def required(self, request: Any) -> Sequence[Action]:
        assert isinstance(request, ListenRequest)
        if not 1 <= len(request.listens) <= MAX_ADDRESSES:
            raise IroshError(ErrorCode.PROTOCOL, f"a forward has 1 to {MAX_ADDRESSES} addresses")
        return (Reach("listen", _spec(request.listens[0])),)

    async def serve(self, incoming: IncomingStream) -> None:
        if self._listeners[incoming.connection] >= MAX_LISTENERS:
            await incoming.refuse(IroshError(ErrorCode.BUSY, f"{MAX_LISTENERS} listeners of one peer are enough"))
            return
        self._listeners[incoming.connection] += 1
        try:
            await _listen(incoming)
        finally:
            self._listeners[incoming.connection] -= 1
            if not self._listeners[incoming.connection]:
                del self._listeners[incoming.connection]


async def _listen(incoming: IncomingStream) -> None:
    try:
        listeners = await bind_all(await _granted(incoming), follow_links=False)
    except IroshError as error:
        await incoming.refuse(error)
        return
    try:
        await incoming.accept()
        await write_frame(incoming.stream, Listening([str(spec) for spec, _ in listeners]))
        async with task_group() as group:
            accepting = [_accept(incoming, listener, group) for listener in listeners]
            await first_to_end(_until_ended(incoming.stream), *accepting)
            _close(listeners)
            # Connections that are open go on: the group waits for them.
    finally:
        _close(listeners)


async def _granted(incoming: IncomingStream) -> list[SocketSpec]:
    """Those addresses of the request that the policy grants; the first one is, or nothing would have come here."""
    request: ListenRequest = incoming.request
    grants = [incoming.grants[0]]
    for text in request.listens[1:]:
        try:
            grants.append(await incoming.authorize(Reach("listen", _spec(text))))
        except IroshError as error:
            log.info("%s: does not listen at %s: %s", incoming.petname, text, error.message)
    return [spec for grant in grants for spec in grant.sockets()]


def _spec(text: str) -> SocketSpec:
    spec = parse_listen(text)
    if spec.protocol == "udp":
        raise IroshError(ErrorCode.PROTOCOL, "a forward cannot listen for UDP")
    return spec


async def _accept(incoming: IncomingStream, listener: Bound, group: asyncio.TaskGroup) -> None:
    spec, sock = listener

    def crowded(error: IroshError) -> None:
        log.warning("%s: %s: %s", incoming.petname, spec, error.message)

    await accept_each(sock, lambda client, name: group.create_task(_bring(incoming, spec, client, name)), crowded)


async def _bring(incoming: IncomingStream, spec: SocketSpec, client: socket.socket, name: str) -> None:
    """Carry one connection, to where the peer wants it."""
    try:
        tune(client)
        await incoming.authorize(incoming.grants[0].action)  # what was taken away since holds at once
        opened = await incoming.connection.open(
            "forwarded", ForwardedRequest(incoming.request.token, listen_text(spec), name)
        )
        await opened.stream.splice(client, SpliceCounters(), opened.answer())
    except (IroshError, StreamReset, OSError) as error:
        log.info("%s: %s: connection from %s: %s", incoming.petname, spec, name, error)
    finally:
        client.close()


async def _until_ended(stream: Stream) -> None:
    """Until the peer wants the listener no more."""
    try:
        while await stream.read(1024):
            pass
    except StreamReset:
        pass


def _close(listeners: list[Bound]) -> None:
    while listeners:
        close_listener(listeners.pop()[1])
