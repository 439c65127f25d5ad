"""The client of mode ``iroh-manual``: takes an offer, gives an answer, and dials until the host is there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity, short_id
from irosh.core.manual_message import decode_addresses, encode_addresses
from irosh.core.mode import Mode
from irosh.core.offer_block import Answer, Offer, encode_answer, read_offer
from irosh.rendezvous.interfaces import Contact, Exchange
from irosh.rendezvous.punching_endpoint import PunchingEndpoint
from irosh.transport.interfaces import Connection, Route

log = logging.getLogger(__name__)

MEETING_DEADLINE = 600.0
"""Seconds for somebody to carry the answer to the host."""
KNOWN_DEADLINE = 2.5
"""Seconds in which a host that is reachable where it was answers."""
ANSWER_AFTER = 0.7
"""A host that can be reached without an answer is connected by then, and none is shown."""
ATTEMPT = 3.0
"""A dial sends packets after 0, 1 and 3 s; a new one begins before the pauses grow."""
GRACE = 1.0
"""When the host's own dial comes through first, ours gets so long to replace it."""


@dataclass(frozen=True)
class Met:
    """A connection to the sender of an offer."""

    connection: Connection
    offer: Offer | None


async def dial_known(node: PunchingEndpoint, contact: Contact) -> Connection | None:
    """A connection to a host by addresses known before, if it is still there."""
    if contact.endpoint_id is None or not contact.addresses:
        return None
    with contextlib.suppress(TimeoutError, IroshError):
        async with asyncio.timeout(KNOWN_DEADLINE):
            return await node.endpoint.connect(Route(contact.endpoint_id, (), contact.addresses))
    return None


async def ask_offer(identity: Identity, contact: Contact, exchange: Exchange) -> tuple[Offer, tuple[str, ...]]:
    """A good offer and the addresses in it, asked for until there is one. ``IroshError`` when none will come."""
    while True:
        text = await exchange.ask("offer")
        try:
            offer = read_offer(
                text, mode=Mode.IROH_MANUAL, own=identity.id, now=time.time(), sender=contact.endpoint_id
            )
            return offer, decode_addresses(offer.body)
        except IroshError as error:
            await exchange.note(error)


async def meet(
    identity: Identity, node: PunchingEndpoint, offer: Offer, addresses: tuple[str, ...], exchange: Exchange
) -> Connection:
    """The connection to the sender of ``offer``. ``IroshError`` (unreachable) after the deadline."""
    node.keep_open()
    try:
        async with asyncio.timeout(MEETING_DEADLINE):
            dialling = asyncio.ensure_future(_first_connection(node, Route(offer.sender, (), addresses)))
            try:
                await asyncio.wait((dialling,), timeout=ANSWER_AFTER)
                if not dialling.done():
                    await exchange.show("answer", _answer(identity, node, offer))
                return await dialling
            finally:
                dialling.cancel()
                await asyncio.gather(dialling, return_exceptions=True)
    except TimeoutError:
        raise _unreachable(offer, addresses) from None
    finally:
        await node.let_go()


def _answer(identity: Identity, node: PunchingEndpoint, offer: Offer) -> str:
    return encode_answer(
        Answer(
            mode=Mode.IROH_MANUAL,
            sender=identity.id,
            expires_at=int(time.time() + MEETING_DEADLINE),
            body=encode_addresses(node.addresses),
            offer=offer.digest,
            recipient=offer.sender,
        ),
        identity,
    )


async def _first_connection(node: PunchingEndpoint, route: Route) -> Connection:
    """Dialled by us or by the host, which may be the only way through a NAT. Ours is preferred, so that both agree."""
    ours = asyncio.ensure_future(dial_until_connected(node, route))
    theirs = asyncio.ensure_future(_accept_from(node, route.endpoint_id))
    chosen: Connection | None = None
    try:
        await asyncio.wait((ours, theirs), return_when=asyncio.FIRST_COMPLETED)
        if not ours.done():
            await asyncio.wait((ours,), timeout=GRACE)
        if not ours.done() and theirs.result().is_closed:
            await asyncio.wait((ours,))
        chosen = (ours if ours.done() else theirs).result()
        return chosen
    finally:
        for task in (ours, theirs):
            task.cancel()
        for late in await asyncio.gather(ours, theirs, return_exceptions=True):
            if not isinstance(late, BaseException) and late is not chosen:
                late.close()


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


async def _accept_from(node: PunchingEndpoint, peer_id: str) -> Connection:
    """The first connection from the peer; strangers are sent away."""
    while (connection := await node.endpoint.accept()) is not None:
        if connection.peer_id == peer_id and not connection.is_closed:
            return connection
        connection.close(IroshError(ErrorCode.UNKNOWN_PEER, "this node lets nobody in"))
    raise IroshError(ErrorCode.SHUTTING_DOWN, "the endpoint is closed")


def _unreachable(offer: Offer, addresses: tuple[str, ...]) -> IroshError:
    tried = ", ".join(addresses[:4]) or "no address"
    return IroshError(
        ErrorCode.UNREACHABLE,
        f"no connection to {short_id(offer.sender)}… came about ({tried})",
        "was the answer pasted on the host? `irosh netcheck` on both sides tells whether their NATs let this mode "
        "through; custom, nostr and iroh-default have relays to fall back to",
    )
