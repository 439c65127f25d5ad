"""The host of mode ``iroh-manual``: shows offers, takes answers, and opens its NAT for those who answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity, short_id
from irosh.core.manual_message import decode_addresses, encode_addresses
from irosh.core.mode import Mode
from irosh.core.offer_block import Answer, Offer, encode_offer, read_answer
from irosh.rendezvous.interfaces import Exchange, Hosting
from irosh.rendezvous.manual_failure import no_path
from irosh.rendezvous.manual_line import dial_until_connected
from irosh.rendezvous.punching_endpoint import PunchingEndpoint
from irosh.transport.interfaces import Connection, Route

log = logging.getLogger(__name__)

OFFER_LIFETIME = 3600
"""Seconds."""
MAX_OFFERS = 16
"""That may still be answered; older ones are forgotten."""
PUNCH_DEADLINE = 30.0
"""For a client whose answer was pasted; it has been dialling since it showed it."""
PUNCH_AGAIN = 600.0
"""For a peer whose connection was lost."""
MAX_PUNCHES = 16
"""At once: who pastes faster waits."""
GRACE = 2.5
"""A connection that we dialled is the session only if the client has no better one, which it says by closing ours."""
ADMITTED_AFTER = 3.0
MAX_ANSWERED = 256
MAX_WATCHED = 1024
LOOK_EVERY = 10.0
"""Seconds between looks at the path that a connection takes."""
QUEUE = 128


class ManualHost:
    """Runs as :meth:`run` until cancelled. Connections come out of :attr:`connections`; None: there are no more."""

    def __init__(self, identity: Identity, node: PunchingEndpoint, hosting: Hosting) -> None:
        self._identity = identity
        self._node = node
        self._hosting = hosting
        self._offers: list[Offer] = []
        self._answered: dict[str, bytes] = {}
        self._watched: dict[Connection, None] = {}
        self._punching: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(MAX_PUNCHES)
        self.connections: asyncio.Queue[Connection | None] = asyncio.Queue(QUEUE)

    async def run(self) -> None:
        """Accept, and exchange blocks if somebody carries them."""
        self._node.keep_open()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._accept(group))
                if self._hosting.exchange is not None:
                    group.create_task(self._exchange(group, self._hosting.exchange))
        finally:
            if self.connections.full():
                self.connections.get_nowait()  # nobody will want it any more
            self.connections.put_nowait(None)

    async def _accept(self, group: asyncio.TaskGroup) -> None:
        while (connection := await self._node.endpoint.accept()) is not None:
            peer_id = connection.peer_id
            if (punching := self._punching.get(peer_id)) is not None:
                punching.cancel()  # its packets get in
            self._use_up(peer_id)
            if self._hosting.exchange is not None and not self._hosting.knows(peer_id):
                group.create_task(self._replace_used_invite(peer_id, self._hosting.exchange))
            await self._hand_over(group, connection)

    async def _hand_over(self, group: asyncio.TaskGroup, connection: Connection) -> None:
        if len(self._watched) < MAX_WATCHED:
            self._watched[connection] = None
            group.create_task(self._watch(group, connection))
        await self.connections.put(connection)

    async def _watch(self, group: asyncio.TaskGroup, connection: Connection) -> None:
        """When a connection is lost, open our NAT again for the place where the peer was, as it will dial us."""
        remotes: tuple[str, ...] = ()
        reason = None
        while reason is None:
            remotes = tuple(path.remote for path in connection.paths() if not path.relayed) or remotes
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    reason = await connection.wait_closed()
        del self._watched[connection]
        peer_id = connection.peer_id
        elsewhere = any(each.peer_id == peer_id for each in self._watched)
        if reason.deliberate or elsewhere or not remotes or not self._hosting.knows(peer_id) or self._places.locked():
            return
        await self._places.acquire()
        self._start_punching(group, peer_id, remotes, PUNCH_AGAIN)

    def _start_punching(
        self,
        group: asyncio.TaskGroup,
        peer_id: str,
        addresses: tuple[str, ...],
        deadline: float,
        exchange: Exchange | None = None,
    ) -> None:
        """Takes a place, already acquired. Who pasted hears by ``exchange`` if nothing comes of it."""
        if (running := self._punching.get(peer_id)) is not None:
            running.cancel()
        punching = group.create_task(self._punch(group, peer_id, addresses, deadline, exchange))
        punching.add_done_callback(lambda _: self._places.release())
        self._punching[peer_id] = punching

    def _use_up(self, peer_id: str) -> None:
        """Whoever is connected needs its offer no more; an answer to it that is pasted again is refused."""
        if (digest := self._answered.pop(peer_id, None)) is not None:
            self._offers = [offer for offer in self._offers if offer.digest != digest]

    async def _replace_used_invite(self, peer_id: str, exchange: Exchange) -> None:
        """Show a new offer if a peer came in by the latest one, without an answer: its invite may be spent."""
        latest = self._offers[-1:]
        await asyncio.sleep(ADMITTED_AFTER)
        if self._hosting.knows(peer_id) and self._offers[-1:] == latest:
            with contextlib.suppress(IroshError):
                await exchange.show("offer", self._new_offer())

    async def _exchange(self, group: asyncio.TaskGroup, exchange: Exchange) -> None:
        """One offer after the other, as an invite lets one peer in. An earlier one may be answered late."""
        try:
            while True:
                await exchange.show("offer", self._new_offer())
                answer, addresses = await self._ask_answer(exchange)
                await self._places.acquire()
                self._answered.pop(answer.sender, None)
                self._answered[answer.sender] = answer.offer
                if len(self._answered) > MAX_ANSWERED:
                    del self._answered[next(iter(self._answered))]
                self._start_punching(group, answer.sender, addresses, PUNCH_DEADLINE, exchange)
        except IroshError as error:
            # Nobody will paste any more: whoever can reach us without an answer still may.
            log.info("no more answers: %s", error.message)

    def _new_offer(self) -> str:
        offer = Offer(
            mode=Mode.IROH_MANUAL,
            sender=self._identity.id,
            expires_at=int(time.time()) + OFFER_LIFETIME,
            body=encode_addresses(self._node.addresses),
            invite=self._hosting.invite(),
        )
        self._offers = [*self._offers[1 - MAX_OFFERS :], offer]
        return encode_offer(offer, self._identity)

    async def _ask_answer(self, exchange: Exchange) -> tuple[Answer, tuple[str, ...]]:
        while True:
            text = await exchange.ask("answer")
            try:
                answer = self._read(text)
                return answer, decode_addresses(answer.body)
            except IroshError as error:
                await exchange.note(error)
                if error.code is ErrorCode.BLOCK_EXPIRED:
                    await exchange.show("offer", self._new_offer())

    def _read(self, text: str) -> Answer:
        """The answer to any of our offers that was not used up."""
        latest = self._offers[-1]
        for offer in self._offers[:-1]:
            with contextlib.suppress(IroshError):
                return read_answer(text, to=offer, now=time.time())
        return read_answer(text, to=latest, now=time.time())

    async def _punch(
        self,
        group: asyncio.TaskGroup,
        peer_id: str,
        addresses: tuple[str, ...],
        deadline: float,
        exchange: Exchange | None,
    ) -> None:
        """Dial the client, so that our NAT lets its packets in, until one of both is through."""
        log.info("%s: dialling %s", short_id(peer_id), ", ".join(addresses[:4]))
        try:
            async with asyncio.timeout(deadline):
                connection = await dial_until_connected(self._node, Route(peer_id, (), addresses))
        except TimeoutError:
            log.info("%s: no connection came about", short_id(peer_id))
            if exchange is not None:
                await exchange.note(no_path(peer_id, self._node.addresses, addresses, deadline))
            return
        finally:
            if self._punching.get(peer_id) is asyncio.current_task():
                del self._punching[peer_id]
        try:
            async with asyncio.timeout(GRACE):
                await connection.wait_closed()
        except TimeoutError:
            self._use_up(peer_id)
            await self._hand_over(group, connection)
