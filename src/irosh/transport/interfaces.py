"""What every engine below the rendezvous layer offers: endpoint, connection, stream, datagrams, splice.

Nothing above ``transport`` knows which engine runs; today's is :mod:`irosh.transport.wheel`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from irosh.core.errors import ErrorCode, IroshError

ALPN = b"irosh/1"
MEETING_ALPN = b"irosh-meeting/1"
"""Of connections by which the two sides of a session meet at a relay (:mod:`irosh.rendezvous.relay_fallback`)."""


class StreamReset(Exception):
    """The peer abandoned its sending side, or refuses to read ours, with an application error ``code``."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stream reset by the peer (code {code})")
        self.code = code


class ConnectionLost(IroshError):
    """The connection is gone: closed by the peer (then with its reason), by us, or timed out.

    ``deliberate``: the peer meant to end all that was between the two nodes, so there is nothing to go on with.
    """

    deliberate = False


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


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a connection has moved so far, over all its paths: UDP payload bytes and packets.

    ``lost`` are those sent that the peer never acknowledged in time; packets without data are not among the bytes.
    """

    bytes_sent: int = 0
    bytes_received: int = 0
    packets_sent: int = 0
    packets_received: int = 0
    bytes_lost: int = 0
    packets_lost: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
            self.packets_sent + other.packets_sent,
            self.packets_received + other.packets_received,
            self.bytes_lost + other.bytes_lost,
            self.packets_lost + other.packets_lost,
        )

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(
            self.bytes_sent - other.bytes_sent,
            self.bytes_received - other.bytes_received,
            self.packets_sent - other.packets_sent,
            self.packets_received - other.packets_received,
            self.bytes_lost - other.bytes_lost,
            self.packets_lost - other.packets_lost,
        )


@dataclass
class SpliceCounters:
    """Bytes moved by one splice so far: ``sent`` from the socket to the stream, ``received`` the other way."""

    sent: int = field(default=0)
    received: int = field(default=0)


class ByteStream(Protocol):
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


class Stream(ByteStream, Protocol):
    """A stream as services use it."""

    async def close(self) -> None:
        """Nothing more is read or written here; what was written still arrives. Never raises."""

    def pace(self) -> None:
        """From now on writes wait while more is on its way than arrives in a moment: what follows is not late."""

    async def splice(
        self,
        sock: socket.socket,
        counters: SpliceCounters,
        ready: Coroutine[Any, Any, None] | None = None,
    ) -> Exception | None:
        """Copy both ways between a connected stream socket and this stream until both ends ended.

        Half-close is passed on each way; a reset on one side becomes a reset on the other. The socket is closed.
        ``ready`` is awaited before the first byte goes to the socket, while bytes from it already flow: it reads the
        peer's answer; what it raises ends the splice and is raised.

        Returns what broke it off. A peer that has ended its own side may refuse to read the rest of ours.
        """


class SendingTap(Protocol):
    """Hears of every chunk that a copy from a socket sends, before it is sent."""

    interrupt: Callable[[], None]
    """Set by the copy; ends it, while it waits for its socket too, with :class:`irosh.transport.splice.StaleCopy`."""

    def sending(self, data: memoryview) -> None: ...

    def may_send(self, wake: Callable[[], None]) -> bool:
        """Whether to go on; if not, ``wake`` is called when that is to be asked again."""


class ReceivingTap(Protocol):
    """Hears of every chunk that a copy to a socket receives, before the socket gets it; may raise to end the copy."""

    def received(self, size: int) -> None: ...


Told = Callable[[bytes | Exception], None]
"""Gets what came of a read: bytes, none at the end, or what a read raises."""


class CarrierStream(ByteStream, Protocol):
    """A stream of an engine: what the streams of a session are carried by."""

    def begin_read(self, limit: int, told: Told) -> Callable[[], object]:
        """As ``read``, for ``told``, which may be called before this returns.

        What is returned ends the read, with what it may have taken already; ``told`` is not called any more then.
        """

    async def copy_from(self, sock: socket.socket, tap: SendingTap) -> None:
        """Send what ``sock``, which does not block, brings until its end of input. The stream is not finished."""

    async def copy_to(self, sock: socket.socket, tap: ReceivingTap) -> None:
        """Pass what arrives to ``sock``, which does not block, until the stream's end."""


class Connection(Protocol):
    """One mutually authenticated connection."""

    @property
    def peer_id(self) -> str: ...

    async def open_stream(self) -> CarrierStream: ...

    async def accept_stream(self) -> CarrierStream: ...

    @property
    def max_datagram_size(self) -> int:
        """Largest datagram payload the path takes now, in bytes; 0 when the peer takes none."""

    def send_datagram(self, data: bytes) -> bool:
        """Send one datagram, unreliably. False when it was dropped here (too large, buffer full)."""

    async def receive_datagram(self) -> bytes: ...

    def allow_streams(self, count: int, *, window: int) -> None:
        """How many streams the peer may have open at once, and how many bytes it may send unread (all streams)."""

    def paths(self) -> list[Path]: ...

    def traffic(self) -> Traffic:
        """So far; still known once the connection is closed."""

    @property
    def is_closed(self) -> bool: ...

    def close_reason(self) -> ConnectionLost:
        """Why the connection is closed, as an error to raise."""

    async def wait_closed(self) -> ConnectionLost: ...

    def close(self, error: IroshError | None = None, *, moved: bool = False) -> None:
        """Close at once; the peer learns ``error``'s code, message and hint. ``moved``: only this connection ends."""


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
