"""How a node leads others on: to one of its peers, or to an SSH server near it.

What passes is encrypted between the two ends, which neither trust nor have to trust the hop.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec
from irosh.core.wording import escape, quoted
from irosh.node.node import Node
from irosh.node.target_request import TargetRequest
from irosh.services.shell.messages import GuestRequest, ShellRequest
from irosh.transport.interfaces import ByteStream, ConnectionLost, StreamReset
from irosh.transport.joining import ClosableStream, join
from irosh.transport.session.lifetime import LinkEvent, SessionLifetime
from irosh.transport.socket_stream import SocketStream
from irosh.transport.sockets import connect_source
from irosh.transport.tasks import first_to_end

log = logging.getLogger(__name__)

DEADLINE = 45.0  # seconds to reach the next station
GREETING_DEADLINE = 15.0  # seconds for an SSH server to say what it is
MAX_GREETING = 8 * 1024
PATIENCE = 60.0  # seconds without the link to the next station before what goes through it is given up
HOP_LOST = 4
"""The code of the reset by which a hop says that its way on broke off."""

_SSH = (b"SSH-2.0-", b"SSH-1.99-")


@dataclass(frozen=True)
class Way:
    """A way on: ``stream`` leads there. ``link``: what it depends on, if that is a link to a peer."""

    stream: ClosableStream
    link: SessionLifetime | None = None

    async def carry(self, near: ByteStream) -> None:
        """Join ``near`` to it until both have ended. ``near`` is reset with :data:`HOP_LOST` when the way breaks."""
        try:
            await first_to_end(join(near, self.stream), self._given_up())
            await self.stream.close()
        except (IroshError, StreamReset, OSError) as error:
            log.info("a way on ended: %s", error)
            await self.stream.abort()
            await near.abort(HOP_LOST)

    async def _given_up(self) -> None:
        """Fails once the link has been down for too long; never returns."""
        if self.link is None:
            await asyncio.Event().wait()
            return
        changed = asyncio.Event()

        def report(_event: LinkEvent) -> None:
            changed.set()

        with self.link.watched(report):
            while True:
                changed.clear()
                try:
                    async with asyncio.timeout(PATIENCE if self.link.is_down else None):
                        await changed.wait()
                except TimeoutError:
                    raise ConnectionLost(ErrorCode.CONNECTION_LOST, "the link to the next station is down") from None


async def way_to_peer(node: Node, name: str, service: str, request: ShellRequest | GuestRequest) -> Way:
    """A way to a service of the peer with this petname or id, for somebody whom this node only brings.

    ``IroshError``: unknown-target when it is no peer of this node; what reaching it and the peer itself raise.
    """
    peer = node.trust.find(name)
    if peer is None or node.trust.active(peer.id) is None:
        raise IroshError(
            ErrorCode.UNKNOWN_TARGET,
            f"{quoted(name[:64])} is no peer of this host",
            "its owner can connect to it once: irosh connect TICKET",
        )
    try:
        async with asyncio.timeout(DEADLINE):
            reached = await node.reach(TargetRequest(target=peer.id))
            opened = await reached.connection.open(service, request)
            await opened.answer()
    except TimeoutError:
        raise IroshError(ErrorCode.TIMEOUT, f"{peer.petname} did not answer within {DEADLINE:g} s") from None
    return Way(opened.stream, reached.connection.session)


async def way_to_server(spec: SocketSpec, addresses: tuple[str, ...]) -> Way:
    """A way to the SSH server at ``spec``, once what answers there has proved to be one.

    Nothing is sent to it before, so that the right to reach SSH servers is not one to reach anything else.
    ``IroshError``: target-refused, target-unreachable.
    """
    sock = await connect_source(spec, addresses)
    stream = SocketStream(sock)
    try:
        async with asyncio.timeout(GREETING_DEADLINE):
            greeting = await _greeting(stream, spec)
    except (TimeoutError, OSError) as error:
        await stream.abort()
        reason = "it said nothing" if isinstance(error, TimeoutError) else "it broke off"
        raise _no_server(spec, reason) from None
    except BaseException:
        await stream.abort()
        raise
    return Way(SocketStream(sock, greeting))


async def _greeting(stream: SocketStream, spec: SocketSpec) -> bytes:
    """What the server has said up to the line with its version (RFC 4253, section 4.2), and what came with it."""
    said = bytearray()
    while True:
        data = await stream.read(MAX_GREETING)
        said += data
        if any(line.startswith(_SSH) for line in bytes(said).split(b"\n")):
            return bytes(said)
        if not data or len(said) > MAX_GREETING:
            shown = escape(bytes(said[:40]).decode(errors="replace"), 60)
            raise _no_server(spec, f"it said {shown!r}" if said else "it said nothing")


def _no_server(spec: SocketSpec, reason: str) -> IroshError:
    return IroshError(ErrorCode.TARGET_REFUSED, f"{spec} is no SSH server: {reason}", "is the port right?")
