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

MAX_OFFSET = 1 << 62
NOTHING_WANTED = MAX_OFFSET + 1

# Entries of one message, so that it fits a frame whatever the numbers are.
MAX_ENTRIES = (MAX_FRAME - 64) // 19
MAX_PROGRESS = (MAX_FRAME - 64) // (28 + 19)  # of either kind in one


class Ping(msgspec.Struct, frozen=True, tag=1, array_like=True):
    """Asks for a :class:`Pong` with the same number."""

    number: int


class Pong(msgspec.Struct, frozen=True, tag=2, array_like=True):
    """The answer to a :class:`Ping`."""

    number: int


class Acks(msgspec.Struct, frozen=True, tag=3, array_like=True):
    """How many bytes of which streams have arrived; the end of a stream counts as one more. :data:`NOTHING_WANTED` of
    a stream says that nothing more of it will be read."""

    streams: list[tuple[int, int]]


class Live(msgspec.Struct, frozen=True, tag=4, array_like=True):
    """Streams opened by the sender that still live, all of them once ``complete``. Sent after a resume: those that are
    not named have ended meanwhile."""

    streams: list[int]
    complete: bool


class Progress(msgspec.Struct, frozen=True, tag=8, array_like=True):
    """In sessions with several carriers: of each stream, how many bytes have arrived without a gap and up to which one
    the peer may send; of each lane of the peer's, how many bytes have arrived on it. May be lost: newer ones say it."""

    streams: list[tuple[int, int, int]]
    lanes: list[tuple[int, int]]


class Told(msgspec.Struct, frozen=True, tag=9, array_like=True):
    """In sessions with several carriers: what must not be lost. Said again until :class:`Heard`; ``number`` is even."""

    number: int
    stream: int
    what: int
    code: int = 0


class Heard(msgspec.Struct, frozen=True, tag=10, array_like=True):
    """The answer to a :class:`Told` with the same number."""

    number: int


class Telling(IntEnum):
    """What is :class:`Told` of a stream."""

    COMPLETE = 0
    """All of it has arrived here, the end included."""
    STOP = 1
    """Nothing more of it is wanted here."""
    ABORT = 2
    """Nothing more is wanted, and nothing more is sent."""


Control = Ping | Pong | Acks | Live | Progress | Told | Heard

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
    LANE = 2
    """Brings pieces of a stream, in sessions with several carriers."""


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


def pack_lane(stream: int, lane: int) -> bytes:
    """The beginning of a lane, ``START_SIZE`` bytes: its own number, and that of the stream it brings pieces of."""
    return _START.pack(StartKind.LANE, stream, lane, 0)


def unpack_lane(data: bytes) -> tuple[int, int]:
    """``(stream, lane)``. ``IroshError`` (protocol-error)."""
    start = unpack_start(data)
    if start.kind is not StartKind.LANE:
        raise IroshError(ErrorCode.PROTOCOL, "a stream is no lane, in a session with several carriers")
    return start.stream, start.received


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
