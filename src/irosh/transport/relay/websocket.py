"""The mechanics of one WebSocket connection of a server, in callbacks.

Written on the library's sans-I/O protocol instead of its coroutines: a message is handled in the same call
that read it, without a task switch, and all that one read causes to be sent goes out in one write. The only
task is the one that opens the connection, so there is nothing to leave behind.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, cast

from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from irosh.transport.relay.metrics import RelayCounters
from irosh.transport.relay.outbox import Outbox

_WRITE_SIZE: Final = 64 * 1024
_WRITE_BUFFER: Final = 1  # of 0, asyncio's TLS makes a pause without end
_UNSENT_LOW_WATER: Final = 64 * 1024
# What asyncio and the kernel hold can neither be overtaken by a pong nor dropped when stale, so they get little.

# The library logs headers, and so tokens, when its logger is at DEBUG. This keeps it from that.
_library_logger = logging.getLogger("irosh.transport.relay.websocket")
_library_logger.setLevel(logging.WARNING)


class WebSocketConnection(asyncio.Protocol):
    """One TCP connection: an HTTP request, and then perhaps WebSocket messages.

    Only whole binary messages are accepted, without extensions. What waits to be sent is bounded by the
    outbox; a closing connection is dropped after ``close_timeout`` seconds. Subclasses define the methods
    named ``on_...``.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        counters: RelayCounters,
        *,
        subprotocols: Sequence[Subprotocol],
        max_message: int,
        close_timeout: float,
    ) -> None:
        self.address = "?"
        """The client's address, for logs."""
        self.heard = loop.time()
        """When bytes last came from the client, in the loop's time."""
        self._loop = loop
        self._outbox = outbox
        self._counters = counters
        self._close_timeout = close_timeout
        self._websocket = ServerProtocol(subprotocols=subprotocols, max_size=max_message, logger=_library_logger)
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._resume_timer: asyncio.TimerHandle | None = None
        self._writable = True
        self._closing = False
        self._end_when_sent = False
        self._lost = False

    # --- what subclasses define

    @abstractmethod
    def on_open(self) -> bool:
        """A TCP connection was accepted, its TLS handshake is still to come; False to drop it."""

    @abstractmethod
    def on_request(self, request: Request) -> None:
        """An HTTP request came; to be answered with :meth:`respond` or :meth:`accept`."""

    @abstractmethod
    def on_message(self, message: bytes) -> None:
        """A binary message came."""

    @abstractmethod
    def on_read(self, size: int) -> None:
        """All messages of one read, ``size`` bytes long, have been handled."""

    @abstractmethod
    def on_closing(self, reason: str) -> None:
        """The connection is being closed: no more messages will be handled. Called once."""

    @abstractmethod
    def on_lost(self) -> None:
        """The connection is gone. Called once, after :meth:`on_closing`."""

    # --- services

    async def open(self, sock: socket.socket, tls: ssl.SSLContext | None, timeout: float) -> None:
        """Takes over an accepted socket; returns when a TLS handshake, if any, has been made or has failed.

        Args:
            sock: non-blocking; closed with the connection.
            tls: how to speak TLS, None to speak plain text.
            timeout: seconds for the TLS handshake.
        """
        self._opening = asyncio.current_task()
        limits = {"ssl_handshake_timeout": timeout, "ssl_shutdown_timeout": self._close_timeout} if tls else {}
        opened = False
        try:
            host, port = sock.getpeername()[:2]
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_LOW_WATER)
            if self.on_open():
                await self._loop.connect_accepted_socket(lambda: self, sock, ssl=tls, **limits)
                opened = True
        except OSError as error:  # includes ssl.SSLError and time-outs
            self._start_closing(f"it could not be opened: {error}")
        finally:
            self._opening = None
            if not opened:
                # The loop tells nobody, or only sometimes, of a connection lost before it was open.
                if self._transport is None:
                    sock.close()
                else:
                    self._transport.abort()
                self.connection_lost(None)

    @property
    def closing(self) -> bool:
        """Whether :meth:`on_closing` has been called."""
        return self._closing

    @property
    def subprotocol(self) -> str | None:
        """The WebSocket sub-protocol agreed upon."""
        return self._websocket.subprotocol

    def set_timer(self, delay: float, callback: Callable[[], None]) -> None:
        """Calls ``callback`` after ``delay`` seconds, unless this is called again or the connection closes."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, callback)

    def pause_reading(self, delay: float) -> None:
        """Reads nothing for ``delay`` seconds."""
        assert self._transport is not None
        if self._resume_timer is not None:  # TLS may hand over what it had decrypted before a pause
            self._resume_timer.cancel()
        self._transport.pause_reading()
        self._resume_timer = self._loop.call_later(delay, self._resume_reading)

    @property
    def reading_paused(self) -> bool:
        """Whether :meth:`pause_reading` is in force."""
        return self._resume_timer is not None

    def respond(self, response: Response, reason: str) -> None:
        """Answers the HTTP request and closes the connection; ``reason`` is for logs."""
        self._websocket.send_response(response)
        self._start_closing(reason)

    def accept(self, request: Request) -> bool:
        """Answers an upgrade request; False if it was refused because it was none that can be accepted."""
        response = self._websocket.accept(request)
        if response.status_code != 101:
            self._counters.protocol_errors_total += 1
            self.respond(response, "not a relay client")
            return False
        self._websocket.send_response(response)
        self._queue_library_output()
        return True

    def offer(self, frame: bytes, now: float) -> bool:
        """Queues a droppable message, to be sent at the next :meth:`flush`; False if it was dropped."""
        return self._outbox.offer(binary_message(frame), now)

    def send(self, frame: bytes) -> None:
        """Sends a message ahead of all droppable ones. Does nothing once the connection closes."""
        if self._websocket.state is State.OPEN and self._queue(binary_message(frame)):
            self.flush(self._loop.time())

    def flush(self, now: float) -> None:
        """Sends what waits, as far as the client takes it."""
        transport = self._transport
        assert transport is not None
        while self._writable and self._outbox and not transport.is_closing():
            messages, stale = self._outbox.take(_WRITE_SIZE, now)
            self._counters.dropped_stale_total += stale
            if messages:
                transport.writelines(messages)
        if self._end_when_sent and not self._outbox:
            transport.close()

    def drop_queued(self) -> None:
        """Drops the droppable messages that wait."""
        self._outbox.drop_datagrams()

    def close(self, code: CloseCode, reason: str) -> None:
        """Closes the connection with WebSocket's closing handshake; ``reason`` is told to the client."""
        if not self._closing:
            self._start_closing(reason)
            try:
                self._websocket.send_close(code, reason)
            except InvalidState:  # there is no WebSocket yet
                self._drop()
            self._queue_library_output()
            self.flush(self._loop.time())

    def fail(self, code: CloseCode, reason: str) -> None:
        """Closes the connection without waiting for the client's consent; ``reason`` is told to the client."""
        if not self._closing:
            self._start_closing(reason)
            self._websocket.fail(code, reason)
            self._queue_library_output()
            self.flush(self._loop.time())

    def abort(self, reason: str) -> None:
        """Drops the connection at once; ``reason`` is for logs."""
        self._start_closing(reason)
        self._drop()

    # --- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open, TLS handshake included."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_WRITE_BUFFER)
        if self._closing:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        self.heard = self._loop.time()
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if self._closing:
                break
            if isinstance(event, Frame):
                self._handle_frame(event)
            elif isinstance(event, Request):
                self.on_request(event)
        self._queue_library_output()
        self.flush(self.heard)
        if not self._closing:
            self.on_read(len(data))

    def eof_received(self) -> None:
        """The client will send no more; the transport closes the connection after this."""
        self._websocket.receive_eof()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self._writable = False

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable = True
        self.flush(self._loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if not self._lost:
            self._lost = True
            self._start_closing("the client left" if exc is None else f"the connection broke: {exc}")
            assert self._timer is not None
            self._timer.cancel()
            self.on_lost()

    # --- inside

    def _handle_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY and frame.fin:
            self.on_message(bytes(frame.data))
        elif frame.opcode is Opcode.CLOSE:
            self._start_closing("the client left")
        elif frame.opcode is not Opcode.PING and frame.opcode is not Opcode.PONG:
            self._counters.protocol_errors_total += 1
            kind = "text frames" if frame.opcode is Opcode.TEXT else "fragmented messages"
            self.fail(CloseCode.UNSUPPORTED_DATA, f"{kind} are not part of the protocol")

    def _resume_reading(self) -> None:
        assert self._transport is not None
        self._resume_timer = None
        self.heard = self._loop.time()  # it was not the client that was silent
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _start_closing(self, reason: str) -> None:
        """From now on the client is only sent what is still to be said, within a deadline."""
        if self._closing:
            return
        self._closing = True
        self._outbox.drop_datagrams()  # they must not follow the close frame
        if self._resume_timer is not None:
            self._resume_timer.cancel()
            self._resume_reading()
        self.set_timer(self._close_timeout, self._drop)
        self.on_closing(reason)

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self._opening is not None:
            self._opening.cancel()

    def _queue_library_output(self) -> None:
        """Queues what the library wants to send: the HTTP response, close frames and WebSocket pongs."""
        for chunk in self._websocket.data_to_send():
            if chunk:
                if not self._queue(chunk):
                    return
                continue
            self._end_when_sent = True
            if not self._closing:
                self._counters.protocol_errors_total += 1
                problem = self._websocket.parser_exc or self._websocket.handshake_exc
                self._start_closing(f"broke the WebSocket protocol: {problem}")

    def _queue(self, message: bytes) -> bool:
        if self._outbox.put_control(message):
            return True
        assert self._transport is not None
        if not self._transport.is_closing():
            self._counters.unread_total += 1
        self.abort("does not read what it is sent")
        return False


def binary_message(payload: bytes) -> bytes:
    """``payload`` as a WebSocket message from a server: binary, final, unmasked (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x82, size)) + payload
    if size < 65536:
        return b"\x82\x7e" + size.to_bytes(2, "big") + payload
    return b"\x82\x7f" + size.to_bytes(8, "big") + payload
