"""Connections to peers: one for each peer, dialled once even when many ask, redialled with backoff when kept."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.mode import Mode
from irosh.core.network_options import NOTHING_CHOSEN, NetworkChoice
from irosh.core.trust import TrustStore
from irosh.node.peer_connection import Doorway, PeerConnection
from irosh.rendezvous.interfaces import Contact, Exchange, Rendezvous
from irosh.rendezvous.modes import Modes

log = logging.getLogger(__name__)

MAX_STRANGERS = 256  # connections between handshake and admission; each has a deadline
MAX_CONNECTIONS_OF_ONE = 32  # of one admitted peer
BACKOFF_FIRST, BACKOFF_MOST = 0.5, 30.0
# Reasons that no redialling mends.
FINAL = frozenset(
    {
        ErrorCode.UNKNOWN_PEER,
        ErrorCode.BLOCKED,
        ErrorCode.REVOKED,
        ErrorCode.INVITE_INVALID,
        ErrorCode.INVITE_EXPIRED,
        ErrorCode.INVITE_USED,
        ErrorCode.IDENTITY_MISMATCH,
    }
)

LinkEvent = Callable[[str, IroshError | None], None]


@dataclass(frozen=True)
class Destination:
    """Whom to dial and how: by which mode, with what network options, and who carries offers in the manual modes."""

    contact: Contact
    mode: Mode = Mode.IROH_DEFAULT
    network: NetworkChoice = NOTHING_CHOSEN
    exchange: Exchange | None = None

    @property
    def peer_id(self) -> str | None:
        """None until the peer's offer has been seen."""
        return self.contact.endpoint_id


class Links:
    """All connections of a node. Their tasks belong to the group given to :meth:`attach`."""

    def __init__(self, modes: Modes, doorway: Doorway, trust: TrustStore) -> None:
        self._modes = modes
        self._doorway = doorway
        self._trust = trust
        self._group: asyncio.TaskGroup | None = None
        self._connections: dict[PeerConnection, None] = {}
        self._dialling: dict[str, asyncio.Lock] = {}

    def attach(self, group: asyncio.TaskGroup) -> None:
        """The task group that owns the connections from now on."""
        self._group = group

    def connections(self, peer_id: str | None = None) -> list[PeerConnection]:
        """The live connections, of one peer or of all; newest last."""
        return [c for c in self._connections if peer_id in (None, c.peer_id) and not c.connection.is_closed]

    async def accept_all(self) -> None:
        """Admit and serve whoever dials this node in any of the modes it hosts, until they are closed."""
        places = asyncio.Semaphore(MAX_STRANGERS)
        async with asyncio.TaskGroup() as group:
            for rendezvous in self._modes.hosting():
                group.create_task(self._accept(rendezvous, places))

    async def _accept(self, rendezvous: Rendezvous, places: asyncio.Semaphore) -> None:
        assert self._group is not None
        while (connection := await rendezvous.accept()) is not None:
            await places.acquire()
            peer = PeerConnection(self._doorway, connection, dialed=False)
            self._group.create_task(self._admit_and_serve(peer, places))

    async def get(self, destination: Destination) -> PeerConnection:
        """A live connection to the peer: the one there is, or a new one."""
        if destination.peer_id is None:
            return await self._dial(destination)
        lock = self._dialling.setdefault(destination.peer_id, asyncio.Lock())
        async with lock:
            if live := self.connections(destination.peer_id):
                return live[-1]
            return await self._dial(destination)

    @asynccontextmanager
    async def keep(self, destination: Destination, on_event: LinkEvent) -> AsyncIterator[PeerConnection]:
        """A connection that is dialled again, with growing pauses, whenever it is lost while the context lasts.

        ``on_event`` hears ``lost``, ``retry`` and ``restored``. The first dial's failure is raised.
        """
        first = await self.get(destination)
        keeper = asyncio.create_task(self._redial(destination, first, on_event))
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

    async def _redial(self, destination: Destination, connection: PeerConnection, on_event: LinkEvent) -> None:
        while True:
            reason = await connection.connection.wait_closed()
            on_event("lost", reason)
            pause = BACKOFF_FIRST
            while True:
                if reason.code in FINAL:
                    return
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
                try:
                    connection = await self.get(destination)
                    break
                except IroshError as error:
                    on_event("retry", error)
                    if error.code in FINAL:
                        return
                pause = min(pause * 2, BACKOFF_MOST)
            on_event("restored", None)

    async def _dial(self, destination: Destination) -> PeerConnection:
        assert self._group is not None
        rendezvous = await self._modes.get(destination.mode, destination.network)
        meeting = await rendezvous.dial(destination.contact, destination.exchange)
        connection = meeting.connection
        peer = PeerConnection(self._doorway, connection, dialed=True)
        try:
            await peer.greet(destination.contact.invite or meeting.invite)
        except BaseException:
            connection.close()
            raise
        self._group.create_task(self._serve(peer))
        self._connections[peer] = None  # before the task begins, so that who asks next does not dial again
        return peer

    async def _admit_and_serve(self, peer: PeerConnection, places: asyncio.Semaphore) -> None:
        try:
            if await self._admitted(peer, places):
                log.info("%s: connected", peer.peer_id[:10])
                await self._serve(peer)
        except Exception:
            # A fault in what one peer did must not end the node.
            log.exception("%s: connection failed", peer.peer_id[:10])
            peer.close(IroshError(ErrorCode.INTERNAL, "the host failed to serve this connection"))

    async def _admitted(self, peer: PeerConnection, places: asyncio.Semaphore) -> bool:
        try:
            await peer.admit()
            if len(self.connections(peer.peer_id)) >= MAX_CONNECTIONS_OF_ONE:
                error = IroshError(ErrorCode.BUSY, f"{MAX_CONNECTIONS_OF_ONE} connections of one peer are enough")
                peer.close(error)
                raise error
        except IroshError as error:
            log.info("%s: not admitted: %s", peer.peer_id[:10], error.message)
            return False
        finally:
            places.release()
        return True

    async def _serve(self, peer: PeerConnection) -> None:
        self._connections[peer] = None
        self._note_seen(peer)
        try:
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
