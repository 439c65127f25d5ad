"""Connections to peers: one for each peer, dialled once even when many ask, redialled with backoff when kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.mode import Mode
from irosh.core.paths import Paths
from irosh.core.trust import TrustStore
from irosh.core.wire import Resume, Welcome
from irosh.node.destination import Destination
from irosh.node.exchanging_again import exchange_again
from irosh.node.greeting import Doorway, Greeted, hear_hello, hear_welcome, say_hello, say_welcome
from irosh.node.link_watch import LinkWatch
from irosh.node.metrics.collector import Collector
from irosh.node.newcomers import make_place, new_incoming
from irosh.node.peer_connection import PeerConnection
from irosh.node.redialling import FINAL, Redial, backoff
from irosh.node.resumption import claimed_session, joinable, new_credentials, peer_uses
from irosh.node.ways import Passage, Through, Way
from irosh.rendezvous.interfaces import Exchange, Meeting, Rendezvous
from irosh.rendezvous.modes import Modes
from irosh.transport.interfaces import Connection, ConnectionLost, Stream, StreamReset
from irosh.transport.session.carrier import Carrier
from irosh.transport.session.kinds import new_session
from irosh.transport.session.lifetime import LinkEvent, Report, SessionLifetime
from irosh.transport.tasks import first_to_end

log = logging.getLogger(__name__)

MAX_STRANGERS = 256  # connections between handshake and admission; each has a deadline
SHORT_LIVED = 2.0  # a carrier that lives no longer is no reason to dial at once again
# Reasons for which no new session is tried.
ENDS = FINAL - {ErrorCode.SESSION_UNKNOWN} | {ErrorCode.IDENTITY_MISMATCH, ErrorCode.CLOSED}
# Modes in which a peer that has gone silent is dialled anew while its connection may yet answer. In the others somebody
# would be asked for a paste.
BY_ITSELF = frozenset({Mode.IROH_DEFAULT, Mode.NOSTR})

OnWelcome = Callable[[PeerConnection, Welcome], Coroutine[Any, Any, None]]


class Links:
    """All connections of a node. Their tasks belong to the group given to :meth:`attach`."""

    def __init__(
        self,
        modes: Modes,
        through: Through,
        doorway: Doorway,
        trust: TrustStore,
        collector: Collector,
        secret: bytes,
    ) -> None:
        self._modes = modes
        self._through = through
        self._doorway = doorway
        self._trust = trust
        self._collector = collector
        self._secret = secret
        self._group: asyncio.TaskGroup | None = None
        self._connections: dict[PeerConnection, None] = {}
        self._dialling: dict[tuple[str, Way | None], asyncio.Lock] = {}
        self._places = asyncio.Semaphore(MAX_STRANGERS)
        self.on_welcome: list[OnWelcome] = []
        """Awaited beside everything else when a peer that was dialled has greeted back."""

    def attach(self, group: asyncio.TaskGroup) -> None:
        """The task group that owns the connections from now on."""
        self._group = group

    def connections(self, peer_id: str | None = None) -> list[PeerConnection]:
        """Those whose sessions live, of one peer or of all; newest last."""
        return [c for c in self._connections if peer_id in (None, c.peer_id) and not c.session.is_closed]

    def there(self, destination: Destination) -> list[PeerConnection]:
        """Those that are to ``destination``, by its way if it says one."""
        if destination.peer_id is None:
            return []
        return [c for c in self.connections(destination.peer_id) if destination.way in (None, c.way)]

    async def accept_all(self) -> None:
        """Admit and serve whoever dials this node in any of the modes it hosts, until they are closed."""
        async with asyncio.TaskGroup() as group:
            for rendezvous in self._modes.hosting():
                group.create_task(self._accept(rendezvous))

    async def serve_guest(self, stream: Stream, through: str) -> None:
        """Admit and serve whoever the peer named ``through`` brings on ``stream``, until nothing comes by it any more.

        ``IroshError`` when nobody has proven an identity.
        """
        assert self._group is not None
        carried = await self._through.accept(stream, through)
        await self._places.acquire()
        self._group.create_task(self._admit_and_serve(carried.connection, through))
        await carried.wait_over()

    async def get(self, destination: Destination) -> PeerConnection:
        """A session with the peer: the one there is, or a new one."""
        if destination.peer_id is None:
            return await self._dial(destination)
        lock = self._dialling.setdefault((destination.peer_id, destination.way), asyncio.Lock())
        async with lock:
            live = [
                c
                for c in self.connections(destination.peer_id)
                if destination.paths in (None, c.session.uses)
                and not c.retirement.begun
                and _goes_by(c, destination.way)
            ]
            if live:
                return next((c for c in reversed(live) if c.way is None), live[-1])
            return await self._dial(destination)

    @asynccontextmanager
    async def keep(self, destination: Destination, on_event: Report) -> AsyncIterator[PeerConnection]:
        """A session, and a new one with growing pauses whenever one has ended while the context lasts.

        ``on_event`` hears what happens to the link, and ``restored`` for a new session. The first dial's failure is
        raised.
        """
        first = await self.get(destination)
        keeper = asyncio.create_task(self._renew(destination, first, on_event))
        try:
            yield first
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    def close_peer(self, peer_id: str, error: IroshError) -> int:
        """Close all connections of a peer, telling it why; returns how many there were."""
        live = self.connections(peer_id)
        for connection in live:
            connection.close(error)
        return len(live)

    # -- dialling

    async def _dial(self, destination: Destination) -> PeerConnection:
        assert self._group is not None
        meeting, passage = await self._meet(destination)
        connection = meeting.connection
        uses = destination.paths or self._doorway.settings.paths
        try:
            invite = destination.contact.invite or meeting.invite
            control = await say_hello(self._doorway, connection, invite, uses=uses)
        except BaseException:
            connection.close()
            raise

        async def greeting() -> None:
            peer.welcomed(await hear_welcome(connection, control))

        carrier = Carrier(connection, control, self._doorway.settings, greeting)
        session = new_session(carrier, self._doorway.settings, dialed=True, uses=uses)
        names = () if passage is None else passage.names
        peer = PeerConnection(self._doorway, session, dialed=True, way=destination.way, via=names)
        found = replace(destination, contact=replace(destination.contact, endpoint_id=peer.peer_id, invite=None))
        self._group.create_task(self._serve_dialed(peer, found))
        self._connections[peer] = None  # before the task begins, so that who asks next does not dial again
        if passage is not None:
            try:
                await asyncio.shield(peer.welcome)
            except IroshError as error:
                raise passage.blame(error) from None
        return peer

    async def _meet(self, destination: Destination) -> tuple[Meeting, Passage | None]:
        if destination.way is not None:
            assert destination.peer_id is not None
            carried, passage = await self._through.dial(destination.way, destination.peer_id)
            return Meeting(carried.connection), passage
        rendezvous = await self._modes.get(destination.mode, destination.network)
        return await rendezvous.dial(destination.contact, destination.exchange), None

    async def _serve_dialed(self, peer: PeerConnection, destination: Destination) -> None:
        helpers = [
            asyncio.create_task(self._carry_on(peer, destination)),
            asyncio.create_task(self._after_welcome(peer)),
        ]
        if peer.session.uses is not Paths.FASTEST:
            helpers.append(asyncio.create_task(self._extra_paths(peer, destination)))
        try:
            await self._serve(peer)
        except Exception:
            # A fault in what one peer did must not end the node.
            log.exception("%s: connection failed", peer.peer_id[:10])
            peer.close(IroshError(ErrorCode.INTERNAL, "the other node failed to serve this connection"))
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _after_welcome(self, peer: PeerConnection) -> None:
        welcome = await asyncio.shield(peer.welcome)
        for hook in self.on_welcome:
            try:
                await hook(peer, welcome)
            except (IroshError, StreamReset) as error:
                log.info("%s: %s", peer.peer_id[:10], error)
            except Exception:
                log.exception("%s: what follows the welcome failed", peer.peer_id[:10])

    async def _extra_paths(self, peer: PeerConnection, destination: Destination) -> None:
        from irosh.node.extra_paths import ExtraPaths  # imported late: most sessions have one path

        try:
            await ExtraPaths(peer, self._doorway, self._secret, destination.contact.addresses).run()
        except Exception:
            if not peer.session.is_closed:
                log.exception("%s: no further paths", peer.peer_id[:10])

    async def _carry_on(self, peer: PeerConnection, destination: Destination) -> None:
        """Find the session its next carrier, whenever it has lost one or nothing comes through it any more."""
        session = peer.session
        watch = LinkWatch(session, early=destination.mode in BY_ITSELF)
        clock = asyncio.get_running_loop().time
        found, pauses = float("-inf"), backoff()
        while True:
            await watch.trouble()
            if session.is_closed:
                return
            if clock() - found < SHORT_LIVED:
                await asyncio.sleep(next(pauses))
            else:
                pauses = backoff()
            redial = Redial(
                partial(self._redial, destination, watch),
                partial(self._go_on, session),
                partial(_tell_retry, session),
                overlapping=destination.mode is Mode.IROH_DEFAULT and destination.way is None,
            )
            try:
                await first_to_end(redial.run(), watch.well(redial.is_greeting))
            except IroshError as error:
                session.end(ConnectionLost(error.code, error.message, error.hint))
                return
            except Exception:
                log.exception("%s: the link is not renewed", session.peer_id[:10])
                _tell_retry(session, IroshError(ErrorCode.INTERNAL, "this node failed to renew the link"))
            found = clock()

    async def _redial(self, destination: Destination, watch: LinkWatch) -> Connection:
        if destination.way is not None:
            return await self._meet_again(destination, destination.way)
        if destination.mode is Mode.IROH_DEFAULT:
            addresses = dict.fromkeys([*watch.remotes, *destination.contact.addresses])
            destination = replace(destination, contact=replace(destination.contact, addresses=tuple(addresses)))
        if destination.mode is Mode.CUSTOM:

            async def dial(exchange: Exchange | None) -> Meeting:
                return (await self._meet(replace(destination, exchange=exchange)))[0]

            return (await exchange_again(dial, destination.exchange)).connection
        return (await self._meet(destination))[0].connection

    async def _meet_again(self, destination: Destination, way: Way) -> Connection:
        """By the way, with nobody to ask. What is final between this node and a hop is not so for the target."""
        try:
            meeting, _ = await self._meet(replace(destination, way=replace(way, exchange=None)))
        except IroshError as error:
            raise IroshError(ErrorCode.UNREACHABLE, error.message, error.hint) from None
        return meeting.connection

    async def _go_on(self, session: SessionLifetime, connection: Connection) -> None:
        """Have the peer carry on with the session over ``connection``."""
        try:
            credentials = session.credentials
            if connection.peer_id != session.peer_id or credentials is None:
                raise IroshError(ErrorCode.IDENTITY_MISMATCH, "another machine than before has answered")
            resume = Resume(credentials.session, credentials.token)
            control = await say_hello(self._doorway, connection, None, resume, uses=session.uses)
            await hear_welcome(connection, control)
        except BaseException:
            connection.close()
            raise
        await session.attach(Carrier(connection, control, self._doorway.settings))

    async def _renew(self, destination: Destination, connection: PeerConnection, on_event: Report) -> None:
        while True:
            with connection.session.watched(on_event), connection.retirement.held():
                reason = await connection.session.wait_closed()
            on_event(LinkEvent("lost", reason))
            pauses = backoff()
            while True:
                if reason.code in ENDS:
                    return
                await asyncio.sleep(next(pauses))
                try:
                    connection = await self.get(destination)
                    break
                except IroshError as error:
                    on_event(LinkEvent("retry", error))
                    if error.code in ENDS:
                        return
            on_event(LinkEvent("restored"))

    # -- accepting

    async def _accept(self, rendezvous: Rendezvous) -> None:
        assert self._group is not None
        while (connection := await rendezvous.accept()) is not None:
            await self._places.acquire()
            self._group.create_task(self._admit_and_serve(connection))
            del connection  # the engine keeps the port of an ended session as long as there is any object of it

    async def _admit_and_serve(self, connection: Connection, through: str | None = None) -> None:
        """Takes one of the places until it is known whose the connection is. ``through``: who brings it, if anybody."""
        try:
            peer = await self._admitted(connection, through)
            if peer is not None:
                log.info("%s: connected", peer.peer_id[:10])
                await self._serve(peer)
        except Exception:
            # A fault in what one peer did must not end the node.
            log.exception("%s: connection failed", connection.peer_id[:10])
            connection.close(IroshError(ErrorCode.INTERNAL, "the host failed to serve this connection"))

    async def _admitted(self, connection: Connection, through: str | None) -> PeerConnection | None:
        """The peer with its new session; None when it was turned away, or goes on with a session it has."""
        try:
            greeted = await hear_hello(self._doorway, connection, through)
            if greeted.hello.resume is not None:
                await self._take_up(greeted, greeted.hello.resume)
                return None
            make_place(self.connections(connection.peer_id), greeted)
            credentials = new_credentials()
            await say_welcome(self._doorway, greeted, credentials, self._addresses(greeted))
            if self._trust.active(greeted.connection.peer_id) is None:
                # Taken away meanwhile, when the connection was not among those to be closed.
                raise IroshError(ErrorCode.REVOKED, "your access to this host was revoked")
            return new_incoming(self._doorway, greeted, credentials, self.connections(connection.peer_id))
        except (IroshError, StreamReset) as error:
            log.info("%s: not admitted: %s", connection.peer_id[:10], error)
            if not connection.is_closed:
                connection.close(error if isinstance(error, IroshError) else None)
            return None
        finally:
            self._places.release()

    async def _take_up(self, greeted: Greeted, resume: Resume) -> None:
        try:
            peer = claimed_session(self.connections(), greeted.connection.peer_id, resume)
            joined = joinable(peer.session) if resume.join else None
        except IroshError as error:
            self._doorway.auditor.record("resume", greeted.connection.peer_id, "refused", error.message)
            raise
        credentials = peer.session.credentials
        assert credentials is not None
        await say_welcome(self._doorway, greeted, credentials, self._addresses(greeted))
        if greeted.certificate is not None:
            peer.verification.certificate = greeted.certificate  # a newer one, perhaps
        carrier = Carrier(greeted.connection, greeted.control, self._doorway.settings)
        await (peer.session.attach(carrier) if joined is None else joined.join(carrier))

    def _addresses(self, greeted: Greeted) -> tuple[str, ...]:
        """Where the peer may reach this node by further paths, if it wants any."""
        return () if peer_uses(greeted.hello) is Paths.FASTEST else self._modes.contact().addresses

    async def _serve(self, peer: PeerConnection) -> None:
        self._connections[peer] = None
        self._note_seen(peer)
        try:
            with self._collector.measuring(peer):
                await peer.run()
        finally:
            self._connections.pop(peer, None)
            self._note_seen(peer)

    def _note_seen(self, peer: PeerConnection) -> None:
        """Worth nothing to fail for, were the disk full."""
        try:
            self._trust.touch(peer.peer_id)
        except IroshError as error:
            log.warning("cannot note when %s was last seen: %s", peer.peer_id[:10], error)


def _goes_by(connection: PeerConnection, way: Way | None) -> bool:
    """Whether it does for who asked for ``way``; who asked for none takes one that is there now."""
    if way is None:
        return connection.way is None or not connection.session.is_down
    return connection.way == way


def _tell_retry(session: SessionLifetime, error: IroshError) -> None:
    if error.code in ENDS:
        # Another identity answers in this network: an end for who begins, no answer for who goes on.
        error = IroshError(ErrorCode.UNREACHABLE, error.message, error.hint)
    if session.is_down:
        session.report(LinkEvent("retry", error))
