"""The host's side of mode nostr: a session for each receiver, with an ICE agent and a QUIC endpoint of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import IceDescription, decode_description
from irosh.core.identity import EndpointId, short_id
from irosh.core.nostr_signal import Answer, Bye, Content, Refusal, Request, SeenNonces, Signal, check_time
from irosh.rendezvous.interfaces import Hosting
from irosh.transport.interfaces import Connection
from irosh.transport.relay.limits import TokenBucket
from irosh.transport.tasks import TaskSet, to_the_end

log = logging.getLogger(__name__)

JOIN_DEADLINE = 60.0
"""Seconds; ICE and its fallbacks give up before that by themselves."""
PATIENCE = 10.0
"""Seconds that a receiver may take to get our answer, which a relay may have lost the first time."""
MAX_ENDED = 1024
REFUSAL_RATE, REFUSAL_BURST = 2.0, 30.0


class Session(Protocol):
    """What establishes one connection: see :class:`irosh.rendezvous.ice_session.IceSession`."""

    @property
    def description(self) -> IceDescription: ...

    async def stale(self) -> None: ...

    async def join(self, remote: IceDescription, *, patience: float = 0.0) -> Connection: ...

    async def wait_closed(self) -> None: ...

    async def close(self) -> None: ...


Gather = Callable[[], Awaitable[Session]]
Key = tuple[bytes, bytes]
"""A receiver's endpoint id and the session id it chose."""


@dataclass(frozen=True)
class Receiver:
    """Who asked for a session, and which."""

    npub: bytes
    """Its Nostr key."""
    id: bytes
    """Its endpoint id."""
    session: bytes

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.id, self.session

    @property
    def endpoint_id(self) -> EndpointId:
        """``id`` as text."""
        return self.id.hex()


Send = Callable[[Receiver, Content], None]


@dataclass
class _Serving:
    receiver: Receiver
    answer: Answer | None = None
    connection: Connection | None = None
    ending: bool = False
    refusal: Refusal | None = None
    """Why it failed, if it did."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def end(self) -> None:
        """Have it end, as when its receiver has left."""
        self.ending = True
        if self.task is not None:
            self.task.cancel()

    def give_way(self) -> None:
        """Have it end for another of the same receiver, over which goes on what its connection carried."""
        if self.connection is not None:
            self.connection.close(moved=True)  # it may be alive, and the receiver only have had to wait for us
        self.end()


class NostrHost:
    """Takes requests by :meth:`received`, answers by ``send``. ``max_sessions`` 0: no limit."""

    def __init__(self, own_id: bytes, hosting: Hosting, send: Send, gather: Gather, max_sessions: int) -> None:
        self._own_id = own_id
        self._hosting = hosting
        self._send = send
        self._gather = gather
        self._max_sessions = max_sessions
        self._tasks = TaskSet()
        self._sessions: dict[Key, _Serving] = {}
        self._ended: OrderedDict[Key, Refusal | None] = OrderedDict()
        self._seen = SeenNonces()
        self._refusals = TokenBucket(REFUSAL_RATE, REFUSAL_BURST, time.monotonic)
        self._accepted: asyncio.Queue[Connection | None] = asyncio.Queue()
        self._closed = False

    @property
    def sessions(self) -> int:
        """How many there are, established or on the way."""
        return len(self._sessions)

    def serves(self, receiver_id: bytes) -> bool:
        """Whether there is a session with this endpoint id."""
        return any(receiver == receiver_id for receiver, _ in self._sessions)

    async def accept(self) -> Connection | None:
        """The next connection; None once closed."""
        if self._closed:
            return None
        return await self._accepted.get()

    async def close(self) -> None:
        """End all sessions; those that wait for an answer are told."""
        self._closed = True
        going = Refusal.of(IroshError(ErrorCode.SHUTTING_DOWN, "the host has stopped"))
        for serving in self._sessions.values():
            if serving.connection is None:
                self._send(serving.receiver, going)
        await self._tasks.close()
        self._accepted.put_nowait(None)

    def received(self, npub: bytes, signal: Signal) -> None:
        """Act on a message whose signature was verified."""
        if self._closed:
            return
        receiver = Receiver(npub, signal.sender, signal.session)
        if isinstance(signal.content, Request):
            self._requested(receiver, signal, signal.content)
        elif isinstance(signal.content, Bye):
            self._left(receiver)

    def _requested(self, receiver: Receiver, signal: Signal, request: Request) -> None:
        # A request is repeated until it is answered: relays lose messages, ours too.
        if (serving := self._sessions.get(receiver.key)) is not None:
            if serving.answer is not None:
                self._send(serving.receiver, serving.answer)
            return
        if receiver.key in self._ended:
            if (refusal := self._ended[receiver.key]) is not None:
                self._refuse(receiver, refusal)
            return
        now = time.time()
        try:
            check_time(signal, now)
            if not self._seen.is_new(signal, now):
                return
            if signal.recipient not in (None, self._own_id):
                raise IroshError(ErrorCode.IDENTITY_MISMATCH, "behind this npub is another identity than you expect")
            self._check_admission(receiver.endpoint_id, request.invite)
            remote = decode_description(request.description, sender=receiver.endpoint_id)
            self._make_room(receiver)
        except IroshError as error:
            log.info("request of %s… refused: %s", short_id(receiver.endpoint_id), error.message)
            self._refuse(receiver, Refusal.of(error))
            return
        serving = _Serving(receiver)
        self._sessions[receiver.key] = serving
        serving.task = self._tasks.start(self._serve(serving, remote))
        # Not at the end of _serve: a task that is cancelled before its first step never gets there.
        serving.task.add_done_callback(lambda _task: self._ended_serving(serving))

    def _left(self, receiver: Receiver) -> None:
        serving = self._sessions.get(receiver.key)
        if serving is None:
            if self._hosting.knows(receiver.endpoint_id):
                self._remember(receiver.key, None)  # its request, still on the way, is not to be answered
        elif serving.connection is None:
            serving.end()

    def _check_admission(self, endpoint_id: EndpointId, invite: bytes | None) -> None:
        """Early, before a stranger costs us sockets; the node itself decides once the connection stands."""
        if self._hosting.knows(endpoint_id):
            return
        if invite is None:
            raise IroshError(
                ErrorCode.UNKNOWN_PEER,
                "this host does not know your identity",
                "ask its owner for a ticket (`irosh invite`), or to add your id (`irosh identity show`) as a peer",
            )
        self._hosting.check_invite(invite, endpoint_id)

    def _make_room(self, receiver: Receiver) -> None:
        if not self._max_sessions or len(self._sessions) < self._max_sessions:
            return
        # A receiver that comes again has lost its connection, which we may notice only in a while.
        for serving in self._sessions.values():
            if serving.receiver.id == receiver.id and not serving.ending:
                log.info("%s… comes again; its oldest session ends", short_id(receiver.endpoint_id))
                serving.give_way()
                return
        raise IroshError(
            ErrorCode.BUSY,
            f"this host serves {self._max_sessions} receivers already, which is its limit",
            "try again when one has left, or have its owner raise --max-sessions",
        )

    async def _serve(self, serving: _Serving, remote: IceDescription) -> None:
        session: Session | None = None
        try:
            session = await self._gather()
            serving.answer = Answer(session.description.encode())
            self._send(serving.receiver, serving.answer)
            async with asyncio.timeout(JOIN_DEADLINE):
                serving.connection = await session.join(remote, patience=PATIENCE)
            self._accepted.put_nowait(serving.connection)
            await session.wait_closed()
        except TimeoutError:
            self._failed(serving, IroshError(ErrorCode.NO_PATH, "no path between the two machines was found"))
        except IroshError as error:
            self._failed(serving, error)
        except Exception:  # one failing session never disturbs another
            log.exception("a session failed")
            self._failed(serving, IroshError(ErrorCode.INTERNAL, "a fault in the host's irosh"))
        finally:
            if session is not None:
                await to_the_end(session.close())

    def _failed(self, serving: _Serving, error: IroshError) -> None:
        log.info("session with %s… failed: %s", short_id(serving.receiver.endpoint_id), error.message)
        serving.refusal = Refusal.of(error)
        self._refuse(serving.receiver, serving.refusal)

    def _ended_serving(self, serving: _Serving) -> None:
        del self._sessions[serving.receiver.key]
        self._remember(serving.receiver.key, serving.refusal)

    def _refuse(self, receiver: Receiver, refusal: Refusal) -> None:
        """At a bounded rate: whoever has our npub can make us say no."""
        if self._refusals.try_take(1):
            self._send(receiver, refusal)

    def _remember(self, key: Key, refusal: Refusal | None) -> None:
        self._ended[key] = refusal
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
