"""The host of mode ``custom``: one offer after the other, each with a session of its own; sessions run side by side."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from irosh.core.errors import IroshError
from irosh.core.ice_description import IceDescription, decode_description
from irosh.core.identity import Identity, short_id
from irosh.core.mode import Mode
from irosh.core.offer_block import Offer, encode_offer, read_answer
from irosh.rendezvous.ice_session import IceSession
from irosh.rendezvous.interfaces import Exchange, Hosting
from irosh.transport.interfaces import Connection
from irosh.transport.tasks import first_to_end, to_the_end

log = logging.getLogger(__name__)

OFFER_LIFETIME = 600
"""Seconds in which somebody carries the offer there and the answer back. Then a new one is shown."""
GATHER_AGAIN = 5.0
MAX_JOINING = 16
MAX_BAD_BLOCKS = 50
"""In a row: who asks is a person or a script, and a script may not notice."""
QUEUE = 128


class CustomHost:
    """Runs as :meth:`run` until cancelled. ``keep`` gets each session that has a connection."""

    def __init__(
        self,
        identity: Identity,
        hosting: Hosting,
        exchange: Exchange,
        gather: Callable[[], Awaitable[IceSession]],
        keep: Callable[[IceSession], None],
    ) -> None:
        self._identity = identity
        self._hosting = hosting
        self._exchange = exchange
        self._gather = gather
        self._keep = keep
        self._asking: asyncio.Task[str] | None = None
        self._places = asyncio.Semaphore(MAX_JOINING)
        self.connections: asyncio.Queue[Connection | None] = asyncio.Queue(QUEUE)

    async def run(self) -> None:
        """Show offers and take answers, as long as somebody carries them."""
        try:
            async with asyncio.TaskGroup() as group:
                try:
                    await self._exchange_blocks(group)
                except IroshError as error:
                    # Who is connected stays so.
                    log.warning("no more offers: %s", error.message)
                    await self._exchange.note(error)
                    await asyncio.Event().wait()
        finally:
            if self._asking is not None:
                self._asking.cancel()
                await asyncio.gather(self._asking, return_exceptions=True)
            if self.connections.full():
                self.connections.get_nowait()  # nobody will want it any more
            self.connections.put_nowait(None)

    async def _exchange_blocks(self, group: asyncio.TaskGroup) -> None:
        while True:
            session = await self._gathered()
            taken = False
            try:
                offer = self._offer(session)
                await self._exchange.show("offer", encode_offer(offer, self._identity))
                remote = await self._answer_to(offer, session)
                if remote is not None:
                    await self._places.acquire()
                    group.create_task(self._join(session, remote))
                    taken = True
            finally:
                if not taken:
                    await to_the_end(session.close())

    async def _gathered(self) -> IceSession:
        while True:
            try:
                return await self._gather()
            except IroshError as error:
                await self._exchange.note(error)
                await asyncio.sleep(GATHER_AGAIN)

    def _offer(self, session: IceSession) -> Offer:
        return Offer(
            mode=Mode.CUSTOM,
            sender=self._identity.id,
            expires_at=int(time.time()) + OFFER_LIFETIME,
            body=session.description.encode(),
            invite=self._hosting.invite(),
        )

    async def _answer_to(self, offer: Offer, session: IceSession) -> IceDescription | None:
        """What the first good answer says; None when a new offer has to be shown. ``IroshError``: nobody answers."""
        expiry = asyncio.ensure_future(first_to_end(session.stale(), asyncio.sleep(OFFER_LIFETIME)))
        bad = 0
        try:
            while True:
                # Somebody may be pasting when an offer expires, so the question outlives it.
                if self._asking is None:
                    self._asking = asyncio.create_task(self._exchange.ask("answer"), name="ask for an answer")
                await asyncio.wait((self._asking, expiry), return_when=asyncio.FIRST_COMPLETED)
                if not self._asking.done():
                    log.info("the offer does not hold any more")
                    return None
                asked, self._asking = self._asking, None
                text = asked.result()
                try:
                    answer = read_answer(text, to=offer, now=time.time())
                    return decode_description(answer.body, sender=answer.sender)
                except IroshError as error:
                    bad += 1
                    if bad == MAX_BAD_BLOCKS:
                        raise
                    await self._exchange.note(error)
        finally:
            expiry.cancel()
            await asyncio.gather(expiry, return_exceptions=True)

    async def _join(self, session: IceSession, remote: IceDescription) -> None:
        peer = short_id(remote.endpoint_id)
        connection: Connection | None = None
        try:
            connection = await session.join(remote)
            log.info("%s: met, %s", peer, session.way)
            self._keep(session)
        except IroshError as error:
            log.warning("%s: %s", peer, error.message)
            await self._exchange.note(error)
        except Exception:
            # A fault in one session must not end the others.
            log.exception("%s: session failed", peer)
        finally:
            self._places.release()
            if connection is None:
                await to_the_end(session.close())
        if connection is not None:
            await self.connections.put(connection)
