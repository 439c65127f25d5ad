"""``iroh-manual``: serverless. Offers and answers by copy and paste; no relay, no discovery, only STUN."""

from __future__ import annotations

import asyncio
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity, short_id
from irosh.core.network_options import NetworkOptions
from irosh.rendezvous.interfaces import Contact, Exchange, Hosting, Meeting
from irosh.rendezvous.manual_client import ask_offer, meet, unreachable
from irosh.rendezvous.manual_host import ManualHost
from irosh.rendezvous.manual_line import Line, within
from irosh.rendezvous.punching_endpoint import PunchingEndpoint, bind_punching
from irosh.transport.interfaces import Connection
from irosh.transport.tasks import TaskSet

KNOWN_DEADLINE = 2.5
"""Seconds in which a host that is still where it was answers, before anybody is asked for an offer."""
ALONE_DEADLINE = 30.0
"""And when there is nobody to ask."""
KEPT = 600.0
"""Seconds for which an endpoint is kept after its connection was lost."""
MAX_LINES = 64


class IrohManual:
    """A host has one endpoint for all its clients; a client has one for each host."""

    def __init__(
        self, identity: Identity, options: NetworkOptions, host_node: PunchingEndpoint | None, host: ManualHost | None
    ) -> None:
        self._identity = identity
        self._options = options
        self._node = host_node
        self._host = host
        self._lines: dict[str, Line] = {}
        self._tasks = TaskSet()
        if host is not None:
            self._tasks.start(host.run())

    @classmethod
    async def start(cls, identity: Identity, options: NetworkOptions, hosting: Hosting | None) -> IrohManual:
        """Bind, if it hosts, and show the first offer. ``IroshError`` (bind-failed, usage).

        The port asked for may be that of another mode of this node: then it is another one, and a problem.
        """
        if options.relay_only:
            raise IroshError(
                ErrorCode.USAGE, "mode iroh-manual has direct paths only", "leave out --relay-only, or use another mode"
            )
        if hosting is None:
            return cls(identity, options, None, None)
        try:
            node = await bind_punching(identity, options)
        except IroshError as error:
            if error.code is not ErrorCode.PORT_TAKEN:
                raise
            node = await bind_punching(identity, options, any_port=True)
            node.problems.append(error)
        return cls(identity, options, node, ManualHost(identity, node, hosting))

    def contact(self) -> Contact:
        return Contact(self._identity.id, addresses=self._node.addresses if self._node else ())

    async def problems(self) -> list[IroshError]:
        return list(self._node.problems) if self._node else []

    async def accept(self) -> Connection | None:
        return None if self._host is None else await self._host.connections.get()

    async def dial(self, contact: Contact, exchange: Exchange | None) -> Meeting:
        """By the way that led to the host before, while it may still be open; else, or meanwhile, by a new offer."""
        known = await self._known_line(contact)
        if known is not None and (connection := await within(KNOWN_DEADLINE, known.connect())) is not None:
            return self._met(known, connection, None)
        if exchange is not None:
            return await self._by_offer(contact, known, exchange)
        if known is None:
            raise _nobody_to_ask(contact)
        return await self._alone(known)

    async def _alone(self, known: Line) -> Meeting:
        if (connection := await within(ALONE_DEADLINE, known.connect())) is None:
            raise unreachable(known)
        return self._met(known, connection, None)

    async def _by_offer(self, contact: Contact, known: Line | None, exchange: Exchange) -> Meeting:
        asking = asyncio.ensure_future(ask_offer(self._identity, contact, exchange))
        redialling = asyncio.ensure_future(known.connect()) if known is not None else None
        try:
            await asyncio.wait([each for each in (asking, redialling) if each], return_when=asyncio.FIRST_COMPLETED)
            if known is not None and redialling is not None and redialling.done():
                return self._met(known, redialling.result(), None)
        finally:
            await _cancelled(redialling, asking)
        if known is not None and asking.exception() is not None:
            return await self._alone(known)  # nobody pastes, but the host may come back
        offer, addresses = asking.result()
        # A new endpoint, as the addresses of the old one may be those of a network that we have left.
        line = Line(await self._bind(), offer.sender, addresses)
        try:
            connection = await meet(self._identity, line, offer, exchange)
        except BaseException:
            await line.close()
            raise
        return self._met(line, connection, offer.invite)

    async def _known_line(self, contact: Contact) -> Line | None:
        if contact.endpoint_id is None:
            return None
        line = self._lines.get(contact.endpoint_id)
        if line is None and contact.addresses:
            line = self._lines[contact.endpoint_id] = Line(await self._bind(), contact.endpoint_id, contact.addresses)
            self._tasks.start(self._close_later(line, None))
        return line

    async def _bind(self) -> PunchingEndpoint:
        return await bind_punching(self._identity, self._options, any_port=True)

    def _met(self, line: Line, connection: Connection, invite: bytes | None) -> Meeting:
        former = self._lines.get(line.host_id)
        self._lines[line.host_id] = line
        if former is not None and former is not line:
            self._tasks.start(former.close())
        self._tasks.start(self._close_later(line, connection))
        return Meeting(connection, invite)

    async def _close_later(self, line: Line, connection: Connection | None) -> None:
        """The line of a connection that the host ended, at once; of one that was lost, when it is not found again."""
        reason = None if connection is None else await connection.wait_closed()
        if reason is None or not reason.deliberate:
            line.node.keep_open()
            await asyncio.sleep(KEPT if len(self._lines) <= MAX_LINES else 0)
        if line.connection is connection:
            if self._lines.get(line.host_id) is line:
                del self._lines[line.host_id]
            await line.close()

    async def close(self) -> None:
        await self._tasks.close()
        await asyncio.gather(*(line.close() for line in self._lines.values()))
        if self._node is not None:
            await self._node.close()


async def _cancelled(*tasks: asyncio.Future[Any] | None) -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def _nobody_to_ask(contact: Contact) -> IroshError:
    whom = "the peer" if contact.endpoint_id is None else f"{short_id(contact.endpoint_id)}…"
    return IroshError(
        ErrorCode.UNREACHABLE,
        f"mode iroh-manual needs an offer to reach {whom}, and nobody can be asked for it",
        "run `irosh connect --mode iroh-manual` in a terminal, or give it files",
    )
