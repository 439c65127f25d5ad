"""One client's endpoint towards one host of mode ``iroh-manual``: it dials, and takes the host's own dial."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import short_id
from irosh.rendezvous.punching_endpoint import PunchingEndpoint
from irosh.transport.interfaces import Connection, Route
from irosh.transport.tasks import to_the_end

log = logging.getLogger(__name__)

ATTEMPT = 3.0
"""A dial sends packets after 0, 1 and 3 s; a new one begins before the pauses grow."""
GRACE = 1.0
"""When the host's own dial comes through first, ours gets so long to replace it."""


class Line:
    """Kept as long as its connections, and some time longer: a host that is still there is reached again by it."""

    def __init__(self, node: PunchingEndpoint, host_id: str, addresses: tuple[str, ...]) -> None:
        self.node = node
        self.host_id = host_id
        self.addresses = addresses
        self.connection: Connection | None = None
        """The last one."""
        self._arrival: asyncio.Future[Connection] | None = None
        self._accepting = asyncio.create_task(self._accept(), name="iroh-manual accept")

    async def connect(self) -> Connection:
        """Dialled by us or by the host, which may be the only way through a NAT; until cancelled.

        Ours is preferred, and whatever else comes is closed, so that both sides agree.
        """
        route = Route(self.host_id, (), self.addresses)
        ours = asyncio.ensure_future(dial_until_connected(self.node, route))
        theirs = self._arrival = asyncio.get_running_loop().create_future()
        chosen: Connection | None = None
        try:
            await asyncio.wait((ours, theirs), return_when=asyncio.FIRST_COMPLETED)
            if not ours.done():
                await asyncio.wait((ours,), timeout=GRACE)
            if not ours.done() and theirs.result().is_closed:
                await asyncio.wait((ours,))
            chosen = (ours if ours.done() else theirs).result()
        finally:
            self._arrival = None
            for task in (ours, theirs):
                task.cancel()
            for late in await asyncio.gather(ours, theirs, return_exceptions=True):
                if not isinstance(late, BaseException) and late is not chosen:
                    late.close()
        self.connection = chosen
        await self.node.let_go()
        return chosen

    async def _accept(self) -> None:
        while (connection := await self.node.endpoint.accept()) is not None:
            wanted = self._arrival
            if connection.peer_id != self.host_id:
                connection.close(IroshError(ErrorCode.UNKNOWN_PEER, "this node lets nobody in"))
            elif wanted is None or wanted.done():
                connection.close()
            else:
                wanted.set_result(connection)

    async def close(self) -> None:
        """Close the endpoint."""
        await to_the_end(self._close())

    async def _close(self) -> None:
        self._accepting.cancel()
        await asyncio.gather(self._accepting, return_exceptions=True)
        await self.node.close()


async def dial_until_connected(node: PunchingEndpoint, route: Route) -> Connection:
    """Dial again and again; a NAT lets the packets through once the other side has sent some. Cancel it to give up."""
    while True:
        try:
            async with asyncio.timeout(ATTEMPT):
                return await node.endpoint.connect(route)
        except TimeoutError:
            continue
        except IroshError as error:
            log.debug("dialling %s: %s", short_id(route.endpoint_id), error.message)
            await asyncio.sleep(ATTEMPT)


async def within(seconds: float, work: Coroutine[Any, Any, Connection]) -> Connection | None:
    """What ``work`` returns, or None if it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return None
