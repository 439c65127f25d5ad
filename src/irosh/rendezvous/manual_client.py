"""The client of mode ``iroh-manual``: takes an offer, gives an answer, and dials until the host is there."""

from __future__ import annotations

import asyncio
import time

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity, short_id
from irosh.core.manual_message import decode_addresses, encode_addresses
from irosh.core.mode import Mode
from irosh.core.offer_block import Answer, Offer, encode_answer, read_offer
from irosh.rendezvous.interfaces import Contact, Exchange
from irosh.rendezvous.manual_failure import hopeless, is_hopeless
from irosh.rendezvous.manual_line import Line
from irosh.transport.interfaces import Connection

MEETING_DEADLINE = 600.0
"""Seconds for somebody to carry the answer to the host."""
ANSWER_AFTER = 0.7
"""A host that can be reached without an answer is connected by then, and none is shown."""
HOPELESS_DEADLINE = 4.0
"""Where only a way inside of one network could do, or a forwarded port."""


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


async def meet(identity: Identity, line: Line, offer: Offer, exchange: Exchange) -> Connection:
    """The connection to the sender of ``offer``, given an answer if it needs one.

    ``IroshError``: unreachable after the deadline, no-path where an answer would be of no use.
    """
    line.node.keep_open()
    connecting = asyncio.ensure_future(line.connect())
    try:
        async with asyncio.timeout(MEETING_DEADLINE):
            await asyncio.wait((connecting,), timeout=ANSWER_AFTER)
            if not connecting.done() and is_hopeless(line.node.addresses, line.addresses):
                await asyncio.wait((connecting,), timeout=HOPELESS_DEADLINE)
                if not connecting.done():
                    raise hopeless(offer.sender)
            if not connecting.done():
                await exchange.show("answer", _answer(identity, line, offer))
            return await connecting
    except TimeoutError:
        raise unreachable(line) from None
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)


def _answer(identity: Identity, line: Line, offer: Offer) -> str:
    return encode_answer(
        Answer(
            mode=Mode.IROH_MANUAL,
            sender=identity.id,
            expires_at=int(time.time() + MEETING_DEADLINE),
            body=encode_addresses(line.node.addresses),
            offer=offer.digest,
            recipient=offer.sender,
        ),
        identity,
    )


def unreachable(line: Line) -> IroshError:
    """Nothing came through."""
    tried = ", ".join(line.addresses[:4]) or "no address"
    return IroshError(
        ErrorCode.UNREACHABLE,
        f"no connection to {short_id(line.host_id)}… came about ({tried})",
        "was the answer pasted on the host? `irosh netcheck` on both sides tells whether their NATs let this mode "
        "through; custom, nostr and iroh-default have relays to fall back to",
    )
