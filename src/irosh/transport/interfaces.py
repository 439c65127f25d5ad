"""What every engine below the rendezvous layer offers: endpoint, connection, stream, datagrams, splice.

Nothing above ``transport`` knows which engine runs; today's is :mod:`irosh.transport.wheel`.
"""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from irosh.core.errors import ErrorCode, IroshError

ALPN = b"irosh/1"


class StreamReset(Exception):
    """The peer abandoned its sending side, or refuses to read ours, with an application error ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stream reset by the peer (code {code})")
        self.code = code


class ConnectionLost(IroshError):
    """The connection is gone: closed by the peer (then with its reason), by us, or timed out."""


@dataclass(frozen=True)
class Route:
    """Where an endpoint can be reached: relay URLs and ``ip:port`` addresses, either may be empty."""

    endpoint_id: str
    relays: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Path:
    """One network path of a connection. ``rtt`` in seconds; counters in UDP payload bytes."""

    remote: str
    relayed: bool
    selected: bool
    rtt: float
    bytes_sent: int
    bytes_received: int
    lost_packets: int
    mtu: int


@dataclass
class SpliceCounters:
    """Bytes moved by one splice so far: ``sent`` from the socket to the stream, ``received`` the other way."""

    sent: int = field(default=0)
    received: int = field(default=0)


class Stream(Protocol):
    """One bidirectional byte stream with independent ends (half-close)."""

    async def read(self, limit: int = 65536) -> bytes:
        """Some bytes, at most ``limit``; ``b""`` once the peer has finished.

        Raises :class:`StreamReset` or :class:`ConnectionLost`.
        """

    async def read_exactly(self, size: int) -> bytes:
        """Exactly ``size`` bytes; ``EOFError`` when the peer finishes before that."""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data``, waiting while flow control says so. The buffer is copied before the first wait."""

    async def finish(self) -> None:
        """Nothing more will be written; the peer reads an end of stream."""

    async def stop(self, code: int = 0) -> None:
        """Refuse to read more: the peer's writes fail. Never raises; as :meth:`abort`, not while being read."""

    async def abort(self, code: int = 0) -> None:
        """Reset our sending side and stop the peer's. Never raises; harmless when already ended.

        Not while another task reads or writes: it would wait for that to end.
        """

    async def splice(
        self,
        sock: socket.socket,
        counters: SpliceCounters,
        ready: Coroutine[Any, Any, None] | None = None,
    ) -> None:
        """Copy both ways between a connected stream socket and this stream until both ends ended.

        Half-close is passed on each way; a reset on one side becomes a reset on the other. The socket is closed.
        ``ready`` is awaited before the first byte goes to the socket, while bytes from it already flow: it reads the
        peer's answer; what it raises ends the splice and is raised.
        """


class Connection(Protocol):
    """One mutually authenticated connection."""

    @property
    def peer_id(self) -> str: ...

    async def open_stream(self) -> Stream: ...

    async def accept_stream(self) -> Stream: ...

    @property
    def max_datagram_size(self) -> int:
        """Largest datagram payload the path takes now, in bytes; 0 when the peer takes none."""

    def send_datagram(self, data: bytes) -> bool:
        """Send one datagram, unreliably. False when it was dropped here (too large, buffer full)."""

    async def receive_datagram(self) -> bytes: ...

    def allow_streams(self, count: int, *, window: int) -> None:
        """How many streams the peer may have open at once, and how many bytes it may send unread (all streams)."""

    def paths(self) -> list[Path]: ...

    @property
    def is_closed(self) -> bool: ...

    def close_reason(self) -> IroshError:
        """Why the connection is closed, as an error to raise."""

    async def wait_closed(self) -> IroshError: ...

    def close(self, error: IroshError | None = None) -> None:
        """Close at once; the peer learns ``error``'s code, message and hint."""


class Endpoint(Protocol):
    """A bound socket with an identity; dials and accepts connections."""

    @property
    def id(self) -> str: ...

    def route(self) -> Route:
        """How others reach this endpoint, as known now."""

    async def connect(self, route: Route) -> Connection:
        """Dial. Raises ``IroshError`` (unreachable, identity-mismatch)."""

    async def accept(self) -> Connection | None:
        """The next connection whose handshake is complete; None once the endpoint is closed."""

    async def add_relay(self, url: str, token: str | None) -> None: ...

    async def close(self) -> None: ...


def lost(message: str) -> ConnectionLost:
    """A connection that ended without a reason from the peer."""
    return ConnectionLost(ErrorCode.CONNECTION_LOST, message)
