"""One TCP connection to the relay: HTTP, then WebSocket, then the relay protocol.

Written as callbacks on the sans-I/O WebSocket protocol instead of a coroutine per client: a frame is
forwarded in the same call that read it, without a task switch, and all frames of one read go out in one
write. Besides the task of a TLS handshake there are no tasks, so there is nothing to leave behind."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from enum import Enum
from typing import Final, cast

from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from irosh.transport.relay import codec, handshake, http
from irosh.transport.relay.codec import RelayProtocolError, StatusCode, encode_relay_frame
from irosh.transport.relay.hub import Hub, logger, short
from irosh.transport.relay.limits import TokenBucket
from irosh.transport.relay.outbox import Outbox
from irosh.transport.relay.registry import Entry

SUBPROTOCOLS: Final = (Subprotocol("iroh-relay-v2"), Subprotocol("iroh-relay-v1"))
"""In order of preference."""

_MAX_EARLY_BYTES: Final = 32 * 1024
"""Bytes read from a client that has not authenticated; HTTP headers and the handshake need about 1 KiB."""
_WRITE_SIZE: Final = 64 * 1024
_WRITE_BUFFER: Final = 0
_UNSENT_LOW_WATER: Final = 64 * 1024
"""Unsent bytes left to the kernel. What waits there can neither be overtaken by a pong nor dropped when
stale."""

# The library logs headers, thus tokens, and payloads when its logger is at DEBUG; this keeps it from that.
_library_logger = logging.getLogger("irosh.transport.relay.websocket")
_library_logger.setLevel(logging.WARNING)


class _Phase(Enum):
    HTTP = "awaiting an HTTP request"
    CHALLENGED = "awaiting authentication"
    SERVING = "serving"
    CLOSING = "closing"


_STATUS_TEXT: Final = {
    StatusCode.HEALTHY: "the connection is healthy again",
    StatusCode.SAME_ENDPOINT_ID_CONNECTED: "another endpoint connected with the same endpoint id",
    StatusCode.RATE_LIMITED: "the relay is limiting the rate of this endpoint",
}
"""What clients of protocol version 1, which has no status codes, are told."""


class RelayConnection(asyncio.Protocol):
    """One connection, made by the listener for each TCP connection it accepts."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._config = hub.config
        self._counters = hub.counters
        self._loop = hub.loop
        self._transport: asyncio.Transport
        self._websocket = ServerProtocol(
            subprotocols=SUBPROTOCOLS, max_size=codec.MAX_FRAME, logger=_library_logger
        )
        self._outbox = Outbox(
            self._config.queue_frames, self._config.queue_bytes, self._config.queue_age, hub.budget
        )
        self._phase = _Phase.HTTP
        self._writable = True
        self._end_when_sent = False
        self._lost = False
        self._timer: asyncio.TimerHandle | None = None
        self._opened = self._heard = self._loop.time()
        self._early_bytes = 0
        self._challenge = b""
        self._endpoint_id = b""
        self._entry: Entry[RelayConnection] | None = None
        self._address = "?"
        self._reason = "the client left"
        self._bucket: TokenBucket | None = None
        self._resume_timer: asyncio.TimerHandle | None = None
        self._told_limited = False

    # --- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A TCP connection was accepted; its TLS handshake, if any, is still to come."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._address = _address_text(peer) if peer else "?"
        if not self._hub.opened(self):
            self._transport.abort()
            return
        self._set_timer(self._config.handshake_timeout, self._handshake_timed_out)
        tcp = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_LOW_WATER)
        if self._hub.tls is None:
            self._transport.set_write_buffer_limits(_WRITE_BUFFER)
        else:
            self._transport.pause_reading()
            self._hub.tasks.create_task(self._start_tls())

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        now = self._heard = self._loop.time()
        if self._phase is _Phase.HTTP or self._phase is _Phase.CHALLENGED:
            self._early_bytes += len(data)
            if self._early_bytes > _MAX_EARLY_BYTES:
                self._counters.protocol_errors_total += 1
                self.abort("sent too much before it authenticated")
                return
        self._websocket.receive_data(data)
        receivers: set[RelayConnection] = set()
        for event in self._websocket.events_received():
            if self._phase is _Phase.CLOSING:
                break
            try:
                self._handle(event, now, receivers)
            except RelayProtocolError as error:
                self._break_off(CloseCode.PROTOCOL_ERROR, str(error))
        for receiver in receivers:
            receiver.flush(now)
        self._send_library_output()
        self.flush(now)
        if self._bucket is not None and self._phase is _Phase.SERVING:
            self._limit_rate(self._bucket, len(data))

    def eof_received(self) -> None:
        """The client will send no more; the transport closes the connection."""
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
        if self._lost:
            return
        self._lost = True
        if exc is not None and self._phase is not _Phase.CLOSING:
            self._reason = f"the connection broke: {exc}"
        self._stop_serving()
        self._cancel_timers()
        self._outbox.drop_datagrams()
        self._hub.closed(self)

    # --- what other connections and the hub call

    def offer(self, message: bytes, now: float) -> bool:
        """Queues a datagram message for this client, to be sent at the next :meth:`flush`; False if it was
        dropped."""
        return self._outbox.offer(message, now)

    def flush(self, now: float) -> None:
        """Sends what waits, as far as the client takes it."""
        transport = self._transport
        while self._writable and self._outbox and not transport.is_closing():
            messages, stale = self._outbox.take(_WRITE_SIZE, now)
            self._counters.dropped_stale_total += stale
            if messages:
                transport.writelines(messages)
        if self._end_when_sent and not self._outbox:
            transport.close()

    def send_control(self, frame: bytes) -> None:
        """Sends a frame that is no datagram, ahead of all that wait."""
        if self._websocket.state is State.OPEN and self._queue_control(_message(frame)):
            self.flush(self._loop.time())

    def tell_status(self, status: StatusCode) -> None:
        """Tells the client about the state of its connection, in the terms of its protocol version."""
        if self._websocket.subprotocol == SUBPROTOCOLS[0]:
            self.send_control(encode_relay_frame(codec.Status(status)))
        else:
            self.send_control(encode_relay_frame(codec.Health(_STATUS_TEXT[status])))

    def supersede(self) -> None:
        """A newer connection with the same id serves: this one gets no more datagrams, but stays alive."""
        self._outbox.drop_datagrams()
        self.tell_status(StatusCode.SAME_ENDPOINT_ID_CONNECTED)

    def close(self, reason: str, code: CloseCode = CloseCode.SERVICE_RESTART) -> None:
        """Closes the connection in good order, telling the client why; dropped if that takes too long."""
        if self._phase is _Phase.CLOSING:
            return
        self._start_closing(reason)
        try:
            self._websocket.send_close(code, reason)
        except InvalidState:
            self.abort(reason)
            return
        self._send_library_output()
        self.flush(self._loop.time())

    def abort(self, reason: str) -> None:
        """Drops the connection at once."""
        self._start_closing(reason)
        self._transport.abort()

    # --- opening

    async def _start_tls(self) -> None:
        if self._transport.is_closing():
            return
        assert self._hub.tls is not None
        transport: asyncio.Transport | None = None
        try:
            transport = await self._loop.start_tls(
                self._transport,
                self,
                self._hub.tls,
                server_side=True,
                ssl_handshake_timeout=self._config.handshake_timeout,
                ssl_shutdown_timeout=self._config.close_timeout,
            )
        except OSError as error:  # includes ssl.SSLError and time-outs
            logger.debug("TLS handshake with %s failed: %s", self._address, error)
        finally:
            if transport is None:
                # The loop tells nobody of a connection lost during the TLS handshake.
                self._transport.abort()
                self.connection_lost(None)
            else:
                self._transport = transport
                transport.set_write_buffer_limits(_WRITE_BUFFER)

    def _handshake_timed_out(self) -> None:
        self._counters.handshake_timeouts_total += 1
        self.abort(f"timed out {self._phase.value}")

    def _handle(self, event: object, now: float, receivers: set[RelayConnection]) -> None:
        if isinstance(event, Frame):
            if event.opcode is Opcode.BINARY and event.fin:
                self._handle_message(bytes(event.data), now, receivers)
            elif event.opcode is Opcode.TEXT:
                self._break_off(CloseCode.UNSUPPORTED_DATA, "text frames are not part of the relay protocol")
            elif event.opcode is Opcode.BINARY or event.opcode is Opcode.CONT:
                self._break_off(
                    CloseCode.UNSUPPORTED_DATA, "fragmented messages are not part of the relay protocol"
                )
            elif event.opcode is Opcode.CLOSE:
                self._start_closing("the client left")
        elif isinstance(event, Request):
            self._handle_request(event)

    def _handle_request(self, request: Request) -> None:
        if http.path_of(request) != http.RELAY_PATH:
            self._counters.http_requests_total += 1
            self._websocket.send_response(http.respond(request, self._hub.snapshot()))
            self._start_closing("answered an HTTP request")
            return
        response = self._websocket.accept(request)
        self._websocket.send_response(response)
        if response.status_code != 101:
            self._counters.protocol_errors_total += 1
            self._start_closing("is not a relay client")
            return
        # The 101 goes out before the first frame.
        self._send_library_output()
        # A denial takes the place of the challenge: the iroh client reports its reason (an HTTP 401 would
        # show as an unexplained failure to upgrade), tries again as seldom as after a 401, and costs no
        # signature check here.
        problem = http.token_problem(request, self._config.tokens)
        if problem is not None:
            self._counters.denied_token_total += 1
            self._deny(problem)
        elif self._hub.full:
            self._deny_full()
        else:
            self._challenge = handshake.new_challenge()
            self._phase = _Phase.CHALLENGED
            self.send_control(encode_relay_frame(codec.ServerChallenge(self._challenge)))

    def _authenticate(self, data: bytes) -> None:
        try:
            frame = codec.decode_client_frame(data)
        except RelayProtocolError as error:
            self._counters.protocol_errors_total += 1
            self._deny(str(error))
            return
        if not isinstance(frame, codec.ClientAuth):
            self._counters.protocol_errors_total += 1
            self._deny("the first frame must be the client's authentication")
        elif not handshake.is_authentic(frame, self._challenge):
            self._counters.denied_signature_total += 1
            self._deny("signature invalid")
        elif self._config.allow and frame.public_key not in self._config.allow:
            self._counters.denied_not_allowed_total += 1
            self._deny("this endpoint id is not allowed on this relay", short(frame.public_key))
        elif not self._hub.registry.has_room(frame.public_key):
            self._counters.denied_full_total += 1
            self._deny("too many connections with this endpoint id", short(frame.public_key))
        elif self._hub.full:
            self._deny_full()
        else:
            self._serve(frame.public_key)

    def _serve(self, endpoint_id: bytes) -> None:
        self._phase = _Phase.SERVING
        self._endpoint_id = endpoint_id
        self._entry = self._hub.join(endpoint_id, self)
        self.send_control(encode_relay_frame(codec.ServerConfirmsAuth()))
        if self._config.rate_limit is not None:
            self._bucket = TokenBucket(self._config.rate_limit, self._config.rate_burst, self._loop.time)
        self._set_timer(self._config.ping_interval, self._check_alive)
        logger.info(
            "client %s connected from %s (%s); clients: %d",
            short(endpoint_id),
            self._address,
            self._websocket.subprotocol,
            len(self._hub.registry),
        )

    def _deny_full(self) -> None:
        self._counters.denied_full_total += 1
        self._deny("the relay is full")

    def _deny(self, reason: str, who: str = "") -> None:
        self._hub.denied(f"{who} at {self._address}".strip(), reason)
        self.send_control(encode_relay_frame(codec.ServerDeniesAuth(reason)))
        self.close(reason, CloseCode.POLICY_VIOLATION)

    # --- serving

    def _handle_message(self, data: bytes, now: float, receivers: set[RelayConnection]) -> None:
        if self._phase is _Phase.CHALLENGED:
            self._authenticate(data)
        elif codec.is_forwardable(data):
            self._forward(data, now, receivers)
        else:
            match codec.decode_client_frame(data):
                case codec.Ping(payload):
                    self._counters.pings_received_total += 1
                    self.send_control(encode_relay_frame(codec.Pong(payload)))
                case codec.Pong():
                    pass  # any byte received is a sign of life
                case codec.Datagrams() as frame:  # its type was spelt in an unusual way
                    self._forward(codec.encode_client_frame(frame), now, receivers)
                case codec.ClientAuth():
                    raise RelayProtocolError("the client has authenticated already")

    def _forward(self, data: bytes, now: float, receivers: set[RelayConnection]) -> None:
        assert self._entry is not None
        counters, size = self._counters, len(data)
        counters.frames_received_total += 1
        counters.bytes_received_total += size
        receiver = self._hub.registry.route(self._entry, codec.destination(data))
        if receiver is None:
            counters.dropped_unknown_total += 1
        elif receiver.offer(_message(codec.forward(data, self._endpoint_id)), now):
            counters.frames_forwarded_total += 1
            counters.bytes_forwarded_total += size
            receivers.add(receiver)
        else:
            counters.dropped_full_total += 1

    def _limit_rate(self, bucket: TokenBucket, size: int) -> None:
        if self._told_limited and bucket.full:
            self._told_limited = False
            self.tell_status(StatusCode.HEALTHY)
        delay = bucket.take(size)
        if delay <= 0:
            return
        self._counters.rate_limited_total += 1
        self._transport.pause_reading()
        if self._resume_timer is not None:  # TLS may hand over what it had decrypted before the pause
            self._resume_timer.cancel()
        self._resume_timer = self._loop.call_later(delay, self._resume_reading)
        if not self._told_limited:
            self._told_limited = True
            logger.info("client %s is rate limited", short(self._endpoint_id))
            self.tell_status(StatusCode.RATE_LIMITED)

    def _resume_reading(self) -> None:
        self._resume_timer = None
        self._heard = self._loop.time()  # it was not the client that was silent
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _check_alive(self) -> None:
        if self._resume_timer is not None:
            self._set_timer(self._config.ping_interval, self._check_alive)
            return
        silent = self._loop.time() - self._heard
        if silent >= self._config.idle_timeout:
            self._counters.idle_total += 1
            self.close(f"silent for {self._config.idle_timeout:g} s", CloseCode.GOING_AWAY)
        elif silent >= self._config.ping_interval:
            self._counters.pings_sent_total += 1
            self.send_control(encode_relay_frame(codec.Ping(os.urandom(codec.PING_SIZE))))
            self._set_timer(self._config.idle_timeout - silent, self._check_alive)
        else:
            self._set_timer(self._config.ping_interval - silent, self._check_alive)

    # --- closing

    def _break_off(self, code: CloseCode, reason: str) -> None:
        self._counters.protocol_errors_total += 1
        logger.debug(
            "client %s at %s broke the protocol: %s", short(self._endpoint_id), self._address, reason
        )
        self.close(reason, code)

    def _start_closing(self, reason: str) -> None:
        """No more is done for the client than to send it what is still to be said, within a deadline."""
        if self._phase is _Phase.CLOSING:
            return
        self._reason = reason
        self._stop_serving()
        self._outbox.drop_datagrams()  # they must not follow the close frame
        self._cancel_timers()
        # Not bound to the transport of this moment: a TLS handshake may yet replace it.
        self._set_timer(self._config.close_timeout, lambda: self._transport.abort())

    def _stop_serving(self) -> None:
        was_serving = self._phase is _Phase.SERVING
        self._phase = _Phase.CLOSING
        if was_serving:
            self._hub.leave(self._endpoint_id, self)
            logger.info(
                "client %s left after %.0f s: %s; clients: %d",
                short(self._endpoint_id),
                self._loop.time() - self._opened,
                self._reason,
                len(self._hub.registry),
            )

    def _cancel_timers(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._resume_timer is not None:
            self._resume_timer.cancel()
            self._resume_reading()

    def _set_timer(self, delay: float, callback: Callable[[], None]) -> None:
        """Sets the one deadline of the present phase: to authenticate, to show signs of life, or to be
        gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, callback)

    # --- writing

    def _send_library_output(self) -> None:
        """Queues what the WebSocket library wants to send: the HTTP response, close frames and pongs."""
        for chunk in self._websocket.data_to_send():
            if not chunk:
                self._end_when_sent = True
                if self._phase is not _Phase.CLOSING:
                    self._counters.protocol_errors_total += 1
                    problem = self._websocket.parser_exc or self._websocket.handshake_exc
                    self._start_closing(f"broke the WebSocket protocol: {problem}")
            elif not self._queue_control(chunk):
                return

    def _queue_control(self, message: bytes) -> bool:
        if self._outbox.put_control(message):
            return True
        self._counters.unread_total += 1
        self.abort("does not read what it is sent")
        return False


def _address_text(peer: tuple[object, ...]) -> str:
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _message(frame: bytes) -> bytes:
    """``frame`` as an unmasked, final binary WebSocket message (RFC 6455 section 5.2)."""
    size = len(frame)
    if size < 126:
        return bytes((0x82, size)) + frame
    if size < 65536:
        return b"\x82\x7e" + size.to_bytes(2, "big") + frame
    return b"\x82\x7f" + size.to_bytes(8, "big") + frame
