"""``custom``: full ICE (RFC 8445), offers and answers by copy and paste, relays only where ICE finds no way."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import IceDescription, decode_description
from irosh.core.identity import Identity, short_id
from irosh.core.mode import Mode
from irosh.core.network_options import NetworkOptions
from irosh.core.offer_block import Answer, Offer, encode_answer, read_offer
from irosh.rendezvous.custom_host import MAX_BAD_BLOCKS, CustomHost
from irosh.rendezvous.ice_session import IceSession
from irosh.rendezvous.interfaces import Contact, Exchange, Hosting, Meeting
from irosh.rendezvous.relay_fallback import RelayFallback
from irosh.transport.interfaces import Connection
from irosh.transport.tasks import TaskSet, to_the_end

FIRST_OFFER = 6.0
"""Seconds that gathering candidates takes at most."""


class Custom:
    """``fallback`` is the node's, shared with other modes; without it this object has one of its own."""

    def __init__(
        self, identity: Identity, options: NetworkOptions, hosting: Hosting | None, fallback: RelayFallback | None
    ) -> None:
        self._identity = identity
        self._options = options
        self._own_fallback = RelayFallback(identity.secret, options) if fallback is None else None
        self._fallback = fallback or self._own_fallback
        self._host: CustomHost | None = None
        self._tasks = TaskSet()
        self._problems: list[IroshError] = []
        self._gathered = asyncio.Event()
        if hosting is not None and hosting.exchange is not None:
            self._host = CustomHost(identity, hosting, hosting.exchange, self._gather_as_host, self._keep)
            self._tasks.start(self._host.run())

    @classmethod
    async def start(
        cls,
        identity: Identity,
        options: NetworkOptions,
        hosting: Hosting | None,
        fallback: RelayFallback | None = None,
    ) -> Custom:
        """If it hosts, it begins to show offers. ``IroshError`` (usage) when nobody carries them."""
        if hosting is not None and hosting.exchange is None:
            raise IroshError(
                ErrorCode.USAGE,
                "a host of mode custom needs somebody who carries offers and answers",
                "run `irosh host --mode custom` in a terminal, or give it --offer-file and --answer-file",
            )
        return cls(identity, options, hosting, fallback)

    def contact(self) -> Contact:
        return Contact(self._identity.id)

    async def problems(self) -> list[IroshError]:
        """What servers and relays did not do for the latest offer; of a host that begins, for its first."""
        if self._host is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_OFFER):
                    await self._gathered.wait()
        return list(self._problems)

    async def accept(self) -> Connection | None:
        return None if self._host is None else await self._host.connections.get()

    async def dial(self, contact: Contact, exchange: Exchange | None) -> Meeting:
        if exchange is None:
            whom = "the peer" if contact.endpoint_id is None else f"{short_id(contact.endpoint_id)}…"
            raise IroshError(
                ErrorCode.UNREACHABLE,
                f"mode custom needs an offer to reach {whom}, and nobody can be asked for it",
                "run `irosh connect --mode custom` in a terminal, or give it --offer-file and --answer-file",
            )
        offer, remote = await self._ask_offer(contact, exchange)
        session = await self._gather(controlling=True)
        try:
            if (error := session.in_vain(remote)) is not None:
                raise error  # rather than have somebody carry the answer there
            await exchange.show("answer", self._answer(offer, session.description))
            # The host learns of the session when somebody brings it the answer.
            patience = max(0.0, offer.expires_at - time.time())
            connection = await session.join(remote, patience=patience)
        except BaseException:
            await to_the_end(session.close())
            raise
        self._keep(session)
        return Meeting(connection, offer.invite)

    async def close(self) -> None:
        """Close all sessions with what they hold."""
        await self._tasks.close()
        if self._own_fallback is not None:
            await self._own_fallback.close()

    # --- inside

    async def _ask_offer(self, contact: Contact, exchange: Exchange) -> tuple[Offer, IceDescription]:
        bad = 0
        while True:
            text = await exchange.ask("offer")
            try:
                offer = read_offer(
                    text, mode=Mode.CUSTOM, own=self._identity.id, now=time.time(), sender=contact.endpoint_id
                )
                return offer, decode_description(offer.body, sender=offer.sender)
            except IroshError as error:
                bad += 1
                if bad == MAX_BAD_BLOCKS:
                    raise
                await exchange.note(error)

    def _answer(self, offer: Offer, description: IceDescription) -> str:
        answer = Answer(
            mode=Mode.CUSTOM,
            sender=self._identity.id,
            expires_at=offer.expires_at,
            body=description.encode(),
            offer=offer.digest,
            recipient=offer.sender,
        )
        return encode_answer(answer, self._identity)

    async def _gather_as_host(self) -> IceSession:
        return await self._gather(controlling=False)

    async def _gather(self, *, controlling: bool) -> IceSession:
        session = await IceSession.gather(
            self._identity.secret, self._options, controlling=controlling, fallback=self._fallback
        )
        self._problems = session.problems
        self._gathered.set()
        return session

    def _keep(self, session: IceSession) -> None:
        """Own a session until its connection ends."""
        self._tasks.start(_until_over(session))


async def _until_over(session: IceSession) -> None:
    try:
        await session.wait_closed()
    finally:
        await to_the_end(session.close())
