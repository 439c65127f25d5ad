"""Dialling as always, and beside it whatever the local network says of the endpoint; the first connection counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import short_id
from irosh.rendezvous.dialling import Connect
from irosh.rendezvous.mdns import find_on_lan
from irosh.transport.interfaces import Connection, Route

log = logging.getLogger(__name__)

ASK_AFTER = 1.0
"""What is known of the peer mostly works, and then nobody on the network is asked."""
CONNECT_DEADLINE = 10.0


async def dial_also_on_lan(route: Route, dial: Coroutine[Any, Any, Connection], connect: Connect) -> Connection:
    """What ``dial`` returns or raises, unless an address found on the LAN brings a connection first.

    Announcements are not to be trusted: they only add addresses, and the endpoint there must have the right identity.
    """
    known = asyncio.ensure_future(dial)
    found = asyncio.ensure_future(_by_lan(route, connect))
    tasks = (known, found)
    pending: set[asyncio.Future[Connection]] = set(tasks)
    winner: Connection | None = None
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            # Of both at once, the one that was asked for.
            for task in sorted(done, key=lambda each: each is found):
                if task.exception() is None:
                    winner = task.result()
                    return winner
        raise _telling(known, found)
    finally:
        for task in tasks:
            task.cancel()
        for late in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(late, BaseException) and late is not winner:
                late.close()


async def _by_lan(route: Route, connect: Connect) -> Connection:
    if route.addresses or route.relays:
        await asyncio.sleep(ASK_AFTER)
    addresses = await find_on_lan(route.endpoint_id)
    if not addresses:
        raise IroshError(ErrorCode.UNREACHABLE, "nobody on the local network has this endpoint id")
    log.info("%s: the local network says %s", short_id(route.endpoint_id), ", ".join(addresses))
    try:
        async with asyncio.timeout(CONNECT_DEADLINE):
            return await connect(Route(route.endpoint_id, (), addresses))
    except TimeoutError:
        raise IroshError(ErrorCode.UNREACHABLE, "what the local network says does not answer") from None


def _telling(known: asyncio.Future[Connection], found: asyncio.Future[Connection]) -> BaseException:
    """Of two failures that of the dial itself, unless an impostor says more than silence."""
    first, second = known.exception(), found.exception()
    assert first is not None
    impostor = isinstance(second, IroshError) and second.code is ErrorCode.IDENTITY_MISMATCH
    silence = isinstance(first, IroshError) and first.code is ErrorCode.UNREACHABLE
    return second if second is not None and impostor and silence else first
