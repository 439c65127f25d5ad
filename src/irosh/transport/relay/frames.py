"""The frames of the iroh relay protocol as values, with their limits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from irosh.core.errors import ErrorCode, IroshError

ID_SIZE: Final = 32
"""Bytes of an endpoint id (an Ed25519 public key)."""
CHALLENGE_SIZE: Final = 16
SIGNATURE_SIZE: Final = 64
PING_SIZE: Final = 8
MAX_BODY: Final = 64 * 1024
"""Most bytes a frame may have after its type. A client drops its connection when it is sent more, so
nothing larger may be forwarded.
"""
MAX_FRAME: Final = MAX_BODY + 8
"""Most bytes of a frame with the longest spelling of its type."""
MAX_REASON: Final = 1024
"""Most UTF-8 bytes of a denial's reason that are sent."""


class RelayProtocolError(IroshError):
    """A frame that the protocol does not allow; ``code`` is ``PROTOCOL``."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.PROTOCOL, message)


class FrameType(IntEnum):
    """Numbers of the frame types."""

    SERVER_CHALLENGE = 0
    CLIENT_AUTH = 1
    SERVER_CONFIRMS_AUTH = 2
    SERVER_DENIES_AUTH = 3
    CLIENT_TO_RELAY_DATAGRAM = 4
    CLIENT_TO_RELAY_BATCH = 5
    RELAY_TO_CLIENT_DATAGRAM = 6
    RELAY_TO_CLIENT_BATCH = 7
    ENDPOINT_GONE = 8
    PING = 9
    PONG = 10
    HEALTH = 11
    RESTARTING = 12
    STATUS = 13


class StatusCode(IntEnum):
    """What a status frame says about a connection. Clients log unknown numbers, so new ones may be added."""

    HEALTHY = 0
    SAME_ENDPOINT_ID_CONNECTED = 1
    RATE_LIMITED = 2


@dataclass(frozen=True, slots=True)
class ServerChallenge:
    """Relay to client, first: 16 random bytes to sign."""

    challenge: bytes


@dataclass(frozen=True, slots=True)
class ClientAuth:
    """Client to relay: its endpoint id and the signature over the challenge."""

    public_key: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ServerConfirmsAuth:
    """Relay to client: authenticated, datagrams may flow."""


@dataclass(frozen=True, slots=True)
class ServerDeniesAuth:
    """Relay to client: refused, and why. May come instead of the challenge."""

    reason: str


@dataclass(frozen=True, slots=True)
class Datagrams:
    """One or more QUIC datagrams. ``peer`` is the destination towards the relay and the source towards a
    client.

    ``segment_size`` (1 to 65535) cuts ``payload`` into datagrams, the last of which may be shorter; None
    means that there is one. ``ecn`` is the byte with the congestion codepoint in its two low bits, passed
    on as it is.
    """

    peer: bytes
    ecn: int
    segment_size: int | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class EndpointGone:
    """Relay to client: this endpoint, with which the client exchanged datagrams, has left the relay."""

    endpoint_id: bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """Either way: to be answered by a pong with the same 8 bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """Either way: the answer to a ping."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Health:
    """Relay to client, protocol version 1 only: why the connection is unhealthy."""

    problem: str


@dataclass(frozen=True, slots=True)
class Restarting:
    """Relay to client: wait ``reconnect_in_ms``, then try for ``try_for_ms`` before giving up. Both are
    advice.
    """

    reconnect_in_ms: int
    try_for_ms: int


@dataclass(frozen=True, slots=True)
class Status:
    """Relay to client, protocol version 2 only: a :class:`StatusCode`, or a number of a later version."""

    code: int


ClientFrame = ClientAuth | Datagrams | Ping | Pong
"""What a client sends."""
RelayFrame = (
    ServerChallenge
    | ServerConfirmsAuth
    | ServerDeniesAuth
    | Datagrams
    | EndpointGone
    | Ping
    | Pong
    | Health
    | Restarting
    | Status
)
"""What a relay sends."""
