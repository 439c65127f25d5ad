"""``iroh-manual``: serverless. Offers and answers by copy and paste; no relay, no discovery, only STUN."""

from __future__ import annotations

import asyncio
import logging

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity, short_id
from irosh.core.network_options import NetworkOptions
from irosh.rendezvous import manual_client
from irosh.rendezvous.interfaces import Contact, Exchange, Hosting, Meeting
from irosh.rendezvous.manual_host import ManualHost
from irosh.rendezvous.punching_endpoint import PunchingEndpoint, bind_punching
from irosh.transport.interfaces import Connection
from irosh.transport.tasks import to_the_end

log = logging.getLogger(__name__)


class IrohManual:
    """A host has one endpoint for all its clients; each dial has an endpoint of its own, for as long as it lasts."""

    def __init__(
        self, identity: Identity, options: NetworkOptions, host_node: PunchingEndpoint | None, host: ManualHost | None
    ) -> None:
        self._identity = identity
        self._options = options
        self._node = host_node
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()
        if host is not None:
            self._own(host.run(), "iroh-manual host")

    @classmethod
    async def start(cls, identity: Identity, options: NetworkOptions, hosting: Hosting | None) -> IrohManual:
        """Bind, if it hosts, and show the first offer. ``IroshError`` (bind-failed).

        The port asked for may be that of another mode of this node: then it is another one, and a problem.
        """
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
        node = await bind_punching(self._identity, self._options, any_port=True)
        try:
            meeting = await self._meet(node, contact, exchange)
        except BaseException:
            await to_the_end(node.close())
            raise
        self._own(_close_after(node, meeting.connection), "iroh-manual endpoint")
        return meeting

    async def _meet(self, node: PunchingEndpoint, contact: Contact, exchange: Exchange | None) -> Meeting:
        if (known := await manual_client.dial_known(node, contact)) is not None:
            return Meeting(known)
        if exchange is None:
            whom = "the peer" if contact.endpoint_id is None else f"{short_id(contact.endpoint_id)}…"
            raise IroshError(
                ErrorCode.UNREACHABLE,
                f"mode iroh-manual needs an offer to reach {whom}, and nobody can be asked for it",
                "run `irosh connect --mode iroh-manual` in a terminal, or give it files",
            )
        offer, addresses = await manual_client.ask_offer(self._identity, contact, exchange)
        connection = await manual_client.meet(self._identity, node, offer, addresses, exchange)
        return Meeting(connection, offer.invite)

    def _own(self, work: object, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=failure)

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._node is not None:
            await self._node.close()


async def _close_after(node: PunchingEndpoint, connection: Connection) -> None:
    """The endpoint of a dial ends with its connection. Whatever else arrives there meanwhile is closed."""

    async def refuse() -> None:
        while (late := await node.endpoint.accept()) is not None:
            late.close()

    refusing = asyncio.create_task(refuse())
    try:
        await connection.wait_closed()
    finally:
        refusing.cancel()
        await asyncio.gather(refusing, return_exceptions=True)
        await to_the_end(node.close())
