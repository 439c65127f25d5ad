"""One client of the relay: from the HTTP request through authentication to forwarding its datagrams."""

from __future__ import annotations

import os
from enum import Enum, auto
from typing import Final

from websockets.frames import CloseCode
from websockets.http11 import Request
from websockets.typing import Subprotocol

from irosh.transport.relay import codec, frames, handshake, http
from irosh.transport.relay.codec import encode_relay_frame
from irosh.transport.relay.frames import RelayProtocolError, StatusCode
from irosh.transport.relay.hub import Hub, logger, short
from irosh.transport.relay.limits import TokenBucket
from irosh.transport.relay.outbox import Outbox
from irosh.transport.relay.registry import Entry
from irosh.transport.relay.websocket import WebSocketConnection

V2: Final = Subprotocol("iroh-relay-v2")
V1: Final = Subprotocol("iroh-relay-v1")

_MAX_EARLY_BYTES: Final = 32 * 1024
"""Read from a client before it has authenticated; HTTP headers and the handshake need about 1 KiB."""

_STATUS_TEXT: Final = {
    StatusCode.HEALTHY: "the connection is healthy again",
    StatusCode.SAME_ENDPOINT_ID_CONNECTED: "another endpoint connected with the same endpoint id",
    StatusCode.RATE_LIMITED: "the relay is limiting the rate of this endpoint",
}
"""What clients of protocol version 1, which has no status codes, are told."""


class _Phase(Enum):
    REQUEST = auto()
    CHALLENGED = auto()
    SERVING = auto()


class RelayConnection(WebSocketConnection):
    """One connection to the relay, made for each TCP connection that the listener accepts."""

    def __init__(self, hub: Hub) -> None:
        config = hub.config
        super().__init__(
            hub.loop,
            Outbox(config.queue_frames, config.queue_bytes, config.queue_age, hub.budget),
            hub.counters,
            subprotocols=(V2, V1),
            max_message=frames.MAX_FRAME,
            close_timeout=config.close_timeout,
        )
        self._hub = hub
        self._config = config
        self._phase = _Phase.REQUEST
        self._since = self.heard
        self._early_bytes = 0
        self._challenge = b""
        self._endpoint_id = b""
        self._entry: Entry[RelayConnection]
        self._receivers: set[RelayConnection] = set()
        self._bucket: TokenBucket | None = None
        self._told_limited = False

    # --- what the WebSocket connection calls

    def on_open(self) -> bool:
        """Starts the deadline for authentication."""
        if not self._hub.opened(self):
            return False
        self.set_timer(self._config.handshake_timeout, self._handshake_timed_out)
        return True

    def data_received(self, data: bytes) -> None:
        """Bounds what a stranger may send."""
        if self._phase is not _Phase.SERVING:
            self._early_bytes += len(data)
            if self._early_bytes > _MAX_EARLY_BYTES:
                self._counters.protocol_errors_total += 1
                self.abort("sent too much before it authenticated")
                return
        super().data_received(data)

    def on_request(self, request: Request) -> None:
        """Answers plain HTTP requests; sends relay clients the challenge."""
        if http.path_of(request) != http.RELAY_PATH:
            self._counters.http_requests_total += 1
            self.respond(http.respond(request, self._hub.snapshot()), "answered an HTTP request")
            return
        if not self.accept(request):
            return
        # A denial takes the place of the challenge: the iroh client reports its reason (an HTTP 401 would
        # show as an unexplained failure to upgrade), tries again as seldom as after a 401, and no signature
        # has to be checked.
        problem = http.token_problem(request, self._config.tokens)
        if problem is not None:
            self._counters.denied_token_total += 1
            self._deny(problem)
        elif self._hub.full:
            self._deny_full("the relay is full")
        else:
            self._challenge = handshake.new_challenge()
            self._phase = _Phase.CHALLENGED
            self.send(encode_relay_frame(frames.ServerChallenge(self._challenge)))

    def on_message(self, message: bytes) -> None:
        """Handles one frame."""
        try:
            if self._phase is _Phase.CHALLENGED:
                self._authenticate(message)
            elif codec.is_forwardable(message):
                self._forward(message)
            else:
                self._handle_rare(message)
        except RelayProtocolError as error:
            self._counters.protocol_errors_total += 1
            if self._phase is _Phase.CHALLENGED:
                self._deny(error.message)
            else:
                self.fail(CloseCode.PROTOCOL_ERROR, error.message)

    def on_read(self, size: int) -> None:
        """Sends on what one read brought, and keeps the client to its rate."""
        for receiver in self._receivers:
            receiver.flush(self.heard)
        self._receivers.clear()
        if self._bucket is not None:
            self._limit_rate(self._bucket, size)

    def on_closing(self, reason: str) -> None:
        """Stops serving the client."""
        for receiver in self._receivers:
            receiver.flush(self.heard)
        self._receivers.clear()
        if self._phase is not _Phase.SERVING:
            logger.debug("connection from %s ended: %s", self.address, reason)
            return
        self._hub.leave(self._endpoint_id, self)
        seconds = self._loop.time() - self._since
        left = len(self._hub.registry)
        logger.info("client %s left after %.0f s: %s; clients: %d", short(self._endpoint_id), seconds, reason, left)

    def on_lost(self) -> None:
        """Tells the hub."""
        self._hub.closed(self)

    # --- what the hub calls

    def tell_status(self, status: StatusCode) -> None:
        """Tells the client about the state of its connection, in the terms of its protocol version."""
        if self.subprotocol == V2:
            self.send(encode_relay_frame(frames.Status(status)))
        else:
            self.send(encode_relay_frame(frames.Health(_STATUS_TEXT[status])))

    # --- authentication

    def _handshake_timed_out(self) -> None:
        self._counters.handshake_timeouts_total += 1
        self.abort("did not authenticate in time")

    def _authenticate(self, message: bytes) -> None:
        frame = codec.decode_client_frame(message)
        if not isinstance(frame, frames.ClientAuth):
            raise RelayProtocolError("the first frame must be the client's authentication")
        if not handshake.is_authentic(frame, self._challenge):
            self._counters.denied_signature_total += 1
            self._deny("signature invalid")
        elif self._config.allow and frame.public_key not in self._config.allow:
            self._counters.denied_not_allowed_total += 1
            self._deny("this endpoint id is not allowed on this relay", frame.public_key)
        elif not self._hub.registry.has_room(frame.public_key):
            self._deny_full("too many connections with this endpoint id", frame.public_key)
        elif self._hub.full:
            self._deny_full("the relay is full", frame.public_key)
        else:
            self._serve(frame.public_key)

    def _serve(self, endpoint_id: bytes) -> None:
        self._phase = _Phase.SERVING
        self._endpoint_id = endpoint_id
        self._entry = self._hub.join(endpoint_id, self)
        # Only now: a client that has the confirmation can be sent to.
        self.send(encode_relay_frame(frames.ServerConfirmsAuth()))
        if self._config.rate_limit is not None:
            self._bucket = TokenBucket(self._config.rate_limit, self._config.rate_burst, self._loop.time)
        self.set_timer(self._config.ping_interval, self._check_alive)
        who, clients = short(endpoint_id), len(self._hub.registry)
        logger.info("client %s connected from %s (%s); clients: %d", who, self.address, self.subprotocol, clients)

    def _deny_full(self, reason: str, endpoint_id: bytes = b"") -> None:
        self._counters.denied_full_total += 1
        self._deny(reason, endpoint_id)

    def _deny(self, reason: str, endpoint_id: bytes = b"") -> None:
        self._hub.denied(f"{short(endpoint_id)} at {self.address}".strip(), reason)
        self.send(encode_relay_frame(frames.ServerDeniesAuth(reason)))
        self.fail(CloseCode.POLICY_VIOLATION, reason)

    # --- serving

    def _forward(self, frame: bytes) -> None:
        counters, size = self._counters, len(frame)
        counters.frames_received_total += 1
        counters.bytes_received_total += size
        receiver = self._hub.registry.route(self._entry, codec.destination(frame))
        if receiver is None:
            counters.dropped_unknown_total += 1
        elif receiver.offer(codec.forward(frame, self._endpoint_id), self.heard):
            counters.frames_forwarded_total += 1
            counters.bytes_forwarded_total += size
            self._receivers.add(receiver)
        else:
            counters.dropped_full_total += 1

    def _handle_rare(self, message: bytes) -> None:
        match codec.decode_client_frame(message):
            case frames.Ping(payload):
                self._counters.pings_received_total += 1
                self.send(encode_relay_frame(frames.Pong(payload)))
            case frames.Pong():
                pass  # any byte received is a sign of life
            case frames.Datagrams() as frame:  # its type was spelt in an unusual way
                self._forward(codec.encode_client_frame(frame))
            case frames.ClientAuth():
                raise RelayProtocolError("the client has authenticated already")

    def _limit_rate(self, bucket: TokenBucket, size: int) -> None:
        if self._told_limited and bucket.full:
            self._told_limited = False
            self.tell_status(StatusCode.HEALTHY)
        delay = bucket.take(size)
        if delay <= 0:
            return
        self._counters.rate_limited_total += 1
        self.pause_reading(delay)
        if not self._told_limited:
            self._told_limited = True
            logger.info("client %s is rate limited", short(self._endpoint_id))
            self.tell_status(StatusCode.RATE_LIMITED)

    def _check_alive(self) -> None:
        if self.reading_paused:
            self.set_timer(self._config.ping_interval, self._check_alive)
            return
        silent = self._loop.time() - self.heard
        if silent >= self._config.idle_timeout:
            self._counters.idle_total += 1
            self.close(CloseCode.GOING_AWAY, f"silent for {self._config.idle_timeout:g} s")
        elif silent >= self._config.ping_interval:
            self._counters.pings_sent_total += 1
            next_check = min(self._config.ping_interval, self._config.idle_timeout - silent)
            self.set_timer(next_check, self._check_alive)
            self.send(encode_relay_frame(frames.Ping(os.urandom(frames.PING_SIZE))))
        else:
            self.set_timer(self._config.ping_interval - silent, self._check_alive)
