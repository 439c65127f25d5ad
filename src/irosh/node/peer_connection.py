"""One connection to a peer as the node sees it: greeting, streams to and from services, datagram flows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wire import (
    FLOW_HEADER_SIZE,
    StreamAnswer,
    StreamHeader,
    Welcome,
    decode_body,
    decode_datagram,
    encode_datagram,
    encode_request,
    error_in,
)
from irosh.node.authorization import Authorizer
from irosh.node.greeting import Doorway
from irosh.node.metrics.meter import Meter, Sample
from irosh.node.metrics.streams import StreamBook
from irosh.node.retirement import Retirement
from irosh.node.services import IncomingStream, Service, refuse_stream
from irosh.node.verification import Verification
from irosh.node.ways import Way
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import ConnectionLost, Stream, StreamReset
from irosh.transport.session.lifetime import CountedStream, Credentials, LinkEvent, SessionLifetime

log = logging.getLogger(__name__)

HEADER_DEADLINE = 10.0
ANSWER_DEADLINE = 60.0
# What an admitted peer may use.
PEER_STREAMS, PEER_WINDOW = 8192, 64 * 1024 * 1024
PENDING_HEADERS = 256  # streams of one connection that may be between arrival and authorization
MAX_VIOLATIONS = 100  # malformed streams after which a connection is closed

NOT_SERVED = 3


class FactorRequired(IroshError):
    """The peer serves nothing on ``connection`` until it has been given a second factor."""

    def __init__(self, connection: PeerConnection, error: IroshError) -> None:
        super().__init__(error.code, error.message, error.hint)
        self.connection = connection


@dataclass(frozen=True)
class OpenedStream:
    """A stream we opened. Bytes may be written at once; :meth:`answer` tells whether the peer serves it."""

    connection: PeerConnection
    stream: Stream

    async def answer(self) -> None:
        """Wait for the peer's answer. ``IroshError`` with its reason, or :class:`FactorRequired`, when it refused."""
        try:
            error = error_in(await read_frame(self.stream, StreamAnswer, deadline=ANSWER_DEADLINE))
        except StreamReset:
            error = IroshError(ErrorCode.PROTOCOL, "the peer dropped the stream without an answer")
        if error is not None:
            await self.stream.abort()
            if error.code is ErrorCode.FACTOR_REQUIRED:
                raise FactorRequired(self.connection, error)
            raise error


class PeerConnection:
    """A peer with which this node has a session; :meth:`run` serves it until it ends. ``dialed``: we opened it.

    ``way``: the way we went, through other machines; ``via``: what those are called. ``through``: who has brought it.
    """

    def __init__(
        self,
        doorway: Doorway,
        session: SessionLifetime,
        *,
        dialed: bool,
        instance: bytes = b"",
        way: Way | None = None,
        via: tuple[str, ...] = (),
        through: str | None = None,
    ) -> None:
        self._doorway = doorway
        self.session = session
        self.dialed = dialed
        self.instance = instance
        self.way = way
        self.via = via
        self.through = through
        self.peer_id = session.peer_id
        self.since = time.time()
        self.serving = 0
        self.verification = Verification(paths=session.paths)
        """What the peer has given on this session beyond its identity."""
        self._proven_until = float("inf")
        self.welcome: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        # Each side numbers its own flows: the dialling side even, the other odd.
        self._next_flow = count(0 if dialed else 1, 2)
        self._flows: dict[int, Callable[[bytes], None]] = {}
        self._violations = 0
        self.meter = Meter(time.monotonic())
        self.streams = StreamBook()
        self.retirement = Retirement(lambda: len(self.streams), self._end_unused)
        """Once it has begun, nothing more may use this connection but what does already."""
        self._gaps = 0.0  # seconds without a carrier, but for a gap that lasts
        session.reports[self._link_changed] = None
        session.on_forgotten = self._forgotten
        session.on_datagram = self._datagram
        session.allow_streams(PEER_STREAMS, window=PEER_WINDOW)

    @property
    def authorizer(self) -> Authorizer:
        """Decides what this peer may do."""
        return self._doorway.authorizer

    @property
    def petname(self) -> str:
        """What this node calls the peer."""
        peer = self._doorway.trust.get(self.peer_id)
        return peer.petname if peer else self.peer_id[:10]

    @property
    def environment(self) -> dict[str, str]:
        """What programs that the peer runs here are told of it."""
        brought = {} if self.through is None else {"IROSH_VIA": self.through}
        return {"IROSH_PEER": self.petname, "IROSH_PEER_ID": self.peer_id, **brought}

    def proven(self, good_for: float) -> None:
        """The peer has been given its second factors, which it takes for ``good_for`` seconds (0: ever)."""
        self._proven_until = time.monotonic() + good_for if good_for > 0 else float("inf")

    def check_proven(self) -> None:
        """What the peer was given must still count there. :class:`FactorRequired`."""
        if time.monotonic() > self._proven_until:
            raise FactorRequired(
                self, IroshError(ErrorCode.FACTOR_REQUIRED, "the host asks for the second factor anew by now")
            )

    def welcomed(self, welcome: Welcome) -> None:
        """The peer has greeted back."""
        credentials = Credentials(welcome.session, welcome.token)
        self.session.established(credentials, resume_for=welcome.resume_for, replay_buffer=welcome.replay_buffer)
        if not self.welcome.done():
            self.welcome.set_result(welcome)

    # -- our streams and flows

    async def open(self, service: str, request: msgspec.Struct) -> OpenedStream:
        """Open a stream for the peer's ``service``. ``ConnectionLost`` when the connection is gone."""
        stream = await self.session.open_stream()
        self.streams.opened(stream, service, request, ours=True)
        try:
            await write_frame(stream, StreamHeader(service, encode_request(request)))
        except StreamReset as error:
            raise IroshError(ErrorCode.PROTOCOL, f"the peer dropped the stream ({error})") from None
        return OpenedStream(self, stream)

    def new_flow(self) -> int:
        """A flow number of our own."""
        return next(self._next_flow) & 0xFFFF_FFFF

    def receive_flow(self, flow: int, receiver: Callable[[bytes], None]) -> None:
        """Have ``receiver`` called with each datagram of ``flow``. ``IroshError`` (protocol-error) if it is taken."""
        if flow in self._flows:
            raise IroshError(ErrorCode.PROTOCOL, f"flow {flow} is in use")
        self._flows[flow] = receiver
        self.streams.flow_began(flow)

    def drop_flow(self, flow: int) -> None:
        """End a flow."""
        self._flows.pop(flow, None)
        self.streams.flow_ended(flow)

    def send_flow(self, flow: int, payload: bytes) -> bool:
        """Send one datagram of ``flow``; False when it is too large for the path or the buffer is full."""
        if len(payload) + FLOW_HEADER_SIZE > self.session.max_datagram_size:
            return False
        sent = self.session.send_datagram(encode_datagram(flow, payload))
        if sent:
            self.streams.flow_moved(flow, sent=len(payload))
        return sent

    # -- measuring

    def measure(self) -> Sample:
        """Take a sample of what the session does."""
        session = self.session
        gap = session.gap if session.is_down else 0.0
        return self.meter.take(
            time.monotonic(), session.paths(), session.traffic(), session.reconnects, self._gaps + gap
        )

    def _link_changed(self, event: LinkEvent) -> None:
        if event.name == "resumed":
            self._gaps += event.gap

    # -- serving

    async def run(self) -> None:
        """Serve the session until it ends, then return. Cancelling closes it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.session.run())
                try:
                    await self._accept_streams(group)
                except ConnectionLost as reason:
                    log.info("%s: %s", self.peer_id[:10], reason.message)
                raise _Ended
        except* _Ended:
            pass
        finally:
            if not self.welcome.done():
                self.welcome.set_exception(self.session.close_reason())
            self.welcome.exception()  # retrieved, whether or not somebody waited
            brought = "" if self.through is None else f"through {self.through}"
            self._doorway.auditor.record("connection", self.peer_id, "closed", brought)

    def close(self, error: IroshError | None = None) -> None:
        """Close at once, telling the peer why."""
        self.session.close(error)

    def _end_unused(self) -> None:
        if not self.session.is_closed:
            self.close(IroshError(ErrorCode.CLOSED, "the connection was ended by its user"))

    def _forgotten(self, stream: CountedStream) -> None:
        self.streams.forgotten(stream)
        self.retirement.look()

    def _datagram(self, data: bytes) -> None:
        decoded = decode_datagram(data)
        if decoded is not None and (receiver := self._flows.get(decoded[0])):
            self.streams.flow_moved(decoded[0], received=len(decoded[1]))
            receiver(decoded[1])

    async def _accept_streams(self, group: asyncio.TaskGroup) -> None:
        places = asyncio.Semaphore(PENDING_HEADERS)
        while True:
            await places.acquire()
            stream = await self.session.accept_stream()
            group.create_task(self._serve_stream(stream, places))

    async def _serve_stream(self, stream: CountedStream, places: asyncio.Semaphore) -> None:
        try:
            try:
                served = await self._authorize(stream)
            finally:
                places.release()
            if served is None:
                return
            service, incoming = served
            if self.session.holds(stream):
                self.streams.opened(stream, service.name, incoming.request, ours=False)
            self.serving += 1
            try:
                await service.serve(incoming)
            finally:
                self.serving -= 1
            await stream.close()
        except (IroshError, StreamReset, EOFError, OSError) as error:
            log.info("%s: stream ended: %s", self.peer_id[:10], error)
            await stream.abort(NOT_SERVED)
        except Exception:
            # A fault in one service must not take the peer's other streams with it.
            log.exception("%s: a stream failed", self.peer_id[:10])
            await stream.abort(NOT_SERVED)

    async def _authorize(self, stream: Stream) -> tuple[Service, IncomingStream] | None:
        """Read the header and check the capabilities: the one place where a stream gets to its service.

        None when the stream was refused, and its opener told why.
        """
        try:
            header = await read_frame(stream, StreamHeader, deadline=HEADER_DEADLINE)
            service = self._doorway.registry.get(header.service)
            request = decode_body(header.request, service.request_type)
            actions = service.required(request)
            authorize = self._doorway.authorizer.authorize
            grants = [await authorize(self.peer_id, action, self.verification) for action in actions]
        except ConnectionLost:
            raise
        except IroshError as error:
            log.info("%s: stream refused: %s", self.peer_id[:10], error.message)
            self._count_violation(error)
            await refuse_stream(stream, error)
            return None
        return service, IncomingStream(self, stream, request, tuple(grants), self.verification)

    def _count_violation(self, error: IroshError) -> None:
        if error.code not in (ErrorCode.PROTOCOL, ErrorCode.TIMEOUT):
            return
        self._violations += 1
        if self._violations == MAX_VIOLATIONS:
            error = IroshError(ErrorCode.PROTOCOL, f"{MAX_VIOLATIONS} malformed streams on one connection")
            self._doorway.auditor.record("connection", self.peer_id, "refused", error.message)
            self.session.close(error)


class _Ended(Exception):
    """Ends the task group of a connection, and with it what still runs for the peer."""
