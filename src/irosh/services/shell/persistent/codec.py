"""Frames of service ``session``: one byte of kind, a 16-bit big-endian length, the payload. Pure, no I/O."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Annotated, Literal, TypeVar

import msgspec

from irosh.core.durations import LONGEST
from irosh.core.errors import ErrorCode, IroshError

PREFIX = struct.Struct(">BH")
MAX_PAYLOAD = 0xFFFF
MAX_USERS = 32  # guests of a session

M = TypeVar("M", bound=msgspec.Struct)


class FrameKind(IntEnum):
    """What a frame carries. Those below 16 go to the host, the others come from it."""

    INPUT = 1  # bytes typed
    RESIZE = 2  # :class:`Size`
    DETACH = 3  # nothing
    MANAGE = 4  # :class:`Manage`
    BREAK = 5  # nothing
    WELCOME = 16  # :class:`Welcome`, the first
    OUTPUT = 17  # bytes for the terminal
    NOTICE = 18  # :class:`Notice`
    ANSWER = 19  # :class:`Answer` to MANAGE, in their order
    END = 20  # :class:`End`, the last


Frame = tuple[FrameKind, bytes]
NoticeEvent = Literal["joined", "left", "keyboard", "resized"]

_encoder = msgspec.msgpack.Encoder()


def pack(kind: FrameKind, payload: bytes | bytearray | memoryview = b"") -> bytes:
    """One whole frame. ``ValueError`` when the payload is too long."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a payload of {len(payload)} bytes does not fit a frame")
    return PREFIX.pack(kind, len(payload)) + bytes(payload)


def encode(message: msgspec.Struct) -> bytes:
    """The payload of a frame that carries a message."""
    return _encoder.encode(message)


def decode(payload: bytes, kind: type[M]) -> M:
    """The message in a payload. ``IroshError`` (protocol-error)."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IroshError(ErrorCode.PROTOCOL, f"malformed {kind.__name__} frame: {error}"[:300]) from None


class FrameReader:
    """Cuts a byte stream into frames. Keeps less than one frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes. ``IroshError`` (protocol-error) for an unknown kind."""
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= PREFIX.size:
            number, length = PREFIX.unpack_from(self._buffer, start)
            try:
                kind = FrameKind(number)
            except ValueError:
                raise IroshError(ErrorCode.PROTOCOL, f"unknown session frame kind {number}") from None
            end = start + PREFIX.size + length
            if len(self._buffer) < end:
                break
            frames.append((kind, bytes(self._buffer[start + PREFIX.size : end])))
            start = end
        del self._buffer[:start]
        return frames


class Size(msgspec.Struct):
    """Of a participant's terminal: characters and pixels."""

    columns: int
    rows: int
    width: int = 0
    height: int = 0


class Manage(msgspec.Struct, omit_defaults=True):
    """A command about the session, or with ``name`` about another one: see :mod:`.managing`.

    ``read_only``, ``users`` and ``lifetime`` (of the ticket, in seconds) are for ``share``.
    """

    command: str
    name: str | None = None
    guest: str | None = None
    read_only: bool = False
    users: Annotated[int, msgspec.Meta(ge=1, le=MAX_USERS)] = 1
    lifetime: Annotated[float, msgspec.Meta(gt=0, le=LONGEST)] | None = None


class Answer(msgspec.Struct, omit_defaults=True):
    """What came of it: ``result`` is JSON."""

    result: bytes = b"{}"
    error: dict[str, str] | None = None


class Welcome(msgspec.Struct):
    """What somebody attaches to. Times in Unix seconds."""

    session: str
    created: bool
    began_at: float
    may_type: bool
    size: tuple[int, int]
    participants: int
    owner: bool = True


class Notice(msgspec.Struct, omit_defaults=True):
    """Something that happened: ``event`` with its fields, as ``--json`` shows them.

    Of these kinds only: the command would take others for what its own node says.
    """

    event: NoticeEvent
    who: str = ""
    participants: int = 0
    may_type: bool | None = None
    size: tuple[int, int] | None = None


class End(msgspec.Struct, omit_defaults=True):
    """How it ended for this participant: the program's ``status`` or ``signal``, or, while it goes on, a ``reason``."""

    status: int | None = None
    signal: str | None = None
    reason: str = ""
    name: str = ""
    ended_at: float | None = None
    """When the program ended before the participant came."""
