"""What the two ends of a session say to each other. Pure.

On the control stream of each carrier, frames as in :mod:`irosh.core.wire`, each one of the messages below. Every other
stream of a carrier begins with a :class:`StreamStart`; one that goes on with an earlier stream is answered with a
:class:`StreamResumed`. After these the bytes of the stream follow as they are.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wire import MAX_FRAME

# Entries of one message, so that it fits a frame whatever the numbers are.
MAX_ENTRIES = (MAX_FRAME - 64) // 19


class Ping(msgspec.Struct, frozen=True, tag=1, array_like=True):
    """Asks for a :class:`Pong` with the same number."""

    number: int


class Pong(msgspec.Struct, frozen=True, tag=2, array_like=True):
    """The answer to a :class:`Ping`."""

    number: int


class Acks(msgspec.Struct, frozen=True, tag=3, array_like=True):
    """How many bytes of which streams have arrived; the end of a stream counts as one more."""

    streams: list[tuple[int, int]]


class Live(msgspec.Struct, frozen=True, tag=4, array_like=True):
    """Streams opened by the sender that still live, all of them once ``complete``. Sent after a resume: those that are
    not named have ended meanwhile."""

    streams: list[int]
    complete: bool


class Refused(msgspec.Struct, frozen=True, tag=5, array_like=True):
    """Streams of which the sender wants to read no more, each with an application error code. On the carrier's own
    stream a writer that has nothing more to send would not notice."""

    streams: list[tuple[int, int]]


Control = Ping | Pong | Acks | Live | Refused

_decoder = msgspec.msgpack.Decoder(Control)


def decode_control(body: bytes) -> Control:
    """The message in a frame's body. ``IroshError`` (protocol-error)."""
    try:
        message: Control = _decoder.decode(body)
        return message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IroshError(ErrorCode.PROTOCOL, f"malformed control message: {error}"[:300]) from None


class StartKind(IntEnum):
    """What a carrier's stream is."""

    FRESH = 0
    """A new stream of the session."""
    RESUMED = 1
    """One that began on an earlier carrier. To be answered."""


class ReceiveState(IntFlag):
    """What else the sender of an offset says of what it has received."""

    OPEN = 0
    ENDED = 1
    """The end of the stream has arrived."""
    STOPPED = 2
    """Nothing more is wanted."""
    UNSURE = 4
    """The peer may never have heard of this stream; if so, it is new."""


_START = struct.Struct(">BQQB")
START_SIZE = _START.size
_RESUMED = struct.Struct(">?QB")
RESUMED_SIZE = _RESUMED.size
MAX_OFFSET = 1 << 62


@dataclass(frozen=True)
class StreamStart:
    """The beginning of a carrier's stream. ``received``: bytes its sender has got of that stream so far."""

    kind: StartKind
    stream: int
    received: int = 0
    state: ReceiveState = ReceiveState.OPEN

    def pack(self) -> bytes:
        """``START_SIZE`` bytes."""
        return _START.pack(self.kind, self.stream, self.received, self.state)


@dataclass(frozen=True)
class StreamResumed:
    """The answer to a resumed start. ``known`` False: that stream has ended here."""

    known: bool
    received: int = 0
    state: ReceiveState = ReceiveState.OPEN

    def pack(self) -> bytes:
        """``RESUMED_SIZE`` bytes."""
        return _RESUMED.pack(self.known, self.received, self.state)


def unpack_start(data: bytes) -> StreamStart:
    """Of ``START_SIZE`` bytes. ``IroshError`` (protocol-error)."""
    kind, stream, received, state = _START.unpack(data)
    try:
        return StreamStart(StartKind(kind), stream, _offset(received), ReceiveState(state))
    except ValueError:
        raise IroshError(ErrorCode.PROTOCOL, "a stream begins with something unknown") from None


def unpack_resumed(data: bytes) -> StreamResumed:
    """Of ``RESUMED_SIZE`` bytes. ``IroshError`` (protocol-error)."""
    known, received, state = _RESUMED.unpack(data)
    try:
        return StreamResumed(known, _offset(received), ReceiveState(state))
    except ValueError:
        raise IroshError(ErrorCode.PROTOCOL, "a stream is resumed in an unknown way") from None


def _offset(value: int) -> int:
    if value > MAX_OFFSET:
        raise ValueError("offset out of range")
    return value
