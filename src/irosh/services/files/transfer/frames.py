"""What the two sides of a transfer say to each other: frames of one byte of kind, a 32-bit length, a payload. Pure.

The *initiator* (the command) opens with :class:`Order`. From then on the *sender* of the files tells, in this order:
:class:`Sources`; for each folder, link and file what it is and what is in it; :data:`Kind.FINISH`. The *receiver*
answers :class:`Offers` by :class:`Answers`, which say what is there already, reports each :class:`Failure` and ends
with :class:`Result`. Nobody waits for the other but who asked for an answer. All names are bytes, as file systems have
them.
"""

from __future__ import annotations

import os
import struct
from enum import IntEnum
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from irosh.core.errors import ErrorCode, IroshError

VERSION = 2
HEADER = struct.Struct(">BI")
HOLE = struct.Struct(">Q")
BLOCK = 256 * 1024
"""The most content that one frame of it has."""
MAX_PAYLOAD = 1024 * 1024
SMALL_FILE = 64 * 1024
"""Files up to this size travel together with others."""
PACK_FILES, PACK_BYTES = 256, 512 * 1024
DIGEST_SIZE = 32
_READ_AHEAD = 64 * 1024


class Kind(IntEnum):
    """What a frame carries."""

    FATAL = 0  # either side: nothing more will come of it
    ORDER = 1
    # from the sender
    SOURCES = 2
    FOLDER = 3
    LINK = 4
    PACK = 5
    OFFERS = 6
    BEGIN = 7
    DATA = 8  # bytes of the file that has begun
    HOLE = 9  # a 64-bit count of zero bytes that the file system does not hold either
    END = 10
    ABORT = 11
    PROBLEM = 12
    TOTALS = 13
    FINISH = 14
    SAME = 15
    # from the receiver
    ANSWERS = 32
    FAILURE = 33
    ARRIVED = 34
    RESULT = 35


Name = Annotated[bytes, Meta(min_length=1, max_length=255)]
Parts = Annotated[list[Name], Meta(max_length=512)]
Mode = Annotated[int, Meta(ge=0, le=0o7777)]
_LATEST = 1 << 62
Time = Annotated[int, Meta(ge=-_LATEST, le=_LATEST)]  # nanoseconds since 1970
Count = Annotated[int, Meta(ge=0, le=1 << 62)]
Number = Annotated[int, Meta(ge=0, le=1 << 48)]
Digest = Annotated[bytes, Meta(min_length=DIGEST_SIZE, max_length=DIGEST_SIZE)]
Path = Annotated[bytes, Meta(max_length=4096)]
Text = Annotated[str, Meta(max_length=2000)]


class Order(msgspec.Struct, omit_defaults=True):
    """What the initiator wants. ``receive``: the other side gets the files, into ``paths[0]``; else it sends those."""

    version: int
    receive: bool
    paths: Annotated[list[Path], Meta(min_length=1, max_length=65_536)]
    recursive: bool = False
    preserve: bool = True
    links: bool = False
    resume: bool = False
    quick: bool = False
    """With ``resume``: a file of the same size and time is taken to be the same, unread."""
    sync: bool = True


class Source(msgspec.Struct, array_like=True):
    """One thing that was named. ``order``: by which of the paths asked for; ``name`` empty: what is in the folder."""

    order: Annotated[int, Meta(ge=0, le=65_536)]
    name: Annotated[bytes, Meta(max_length=255)]
    folder: bool


class Sources(msgspec.Struct, array_like=True):
    """All that was named, before anything else."""

    sources: Annotated[list[Source], Meta(max_length=65_536)]


class Folder(msgspec.Struct, array_like=True):
    """A folder. ``source`` is the position in :class:`Sources`, ``parts`` leads from there; so in all others."""

    source: Number
    parts: Parts
    mode: Mode
    mtime: Time


class Link(msgspec.Struct, array_like=True):
    """A symbolic link that is kept as one."""

    source: Number
    parts: Parts
    target: Annotated[bytes, Meta(min_length=1, max_length=4095)]
    mtime: Time


class SmallFile(msgspec.Struct, array_like=True):
    """A whole file."""

    source: Number
    parts: Parts
    mode: Mode
    mtime: Time
    digest: Digest
    data: Annotated[bytes, Meta(max_length=SMALL_FILE)]


class Pack(msgspec.Struct, array_like=True):
    """Whole files that travel together."""

    files: Annotated[list[SmallFile], Meta(max_length=PACK_FILES)]


class Offer(msgspec.Struct, array_like=True):
    """A file that may be there already, in part or in whole."""

    number: Number
    source: Number
    parts: Parts
    size: Count
    mtime: Time


class Offers(msgspec.Struct, array_like=True):
    """Several of them; answered in their order."""

    offers: Annotated[list[Offer], Meta(max_length=PACK_FILES)]


class Answer(msgspec.Struct, array_like=True):
    """``have`` bytes of an offered file are there, hashed to ``digest``. ``complete``: it need not be sent at all.

    ``in_place``: they are a whole file of that name, and it is :class:`Same` or has to be sent from its beginning.
    """

    number: Number
    complete: bool = False
    have: Count = 0
    digest: Annotated[bytes, Meta(max_length=DIGEST_SIZE)] = b""
    in_place: bool = False


class Answers(msgspec.Struct, array_like=True):
    """The answers to one :class:`Offers`."""

    answers: Annotated[list[Answer], Meta(max_length=PACK_FILES)]


class Same(msgspec.Struct, array_like=True):
    """What is in place of a file hashes to what the source does."""

    source: Number
    parts: Parts
    size: Count
    mode: Mode
    mtime: Time


class Begin(msgspec.Struct, array_like=True):
    """A file whose content follows from ``offset`` on, until ``END`` or ``ABORT``."""

    number: Number
    source: Number
    parts: Parts
    size: Count
    mode: Mode
    mtime: Time
    offset: Count
    sparse: bool


class End(msgspec.Struct, array_like=True):
    """The content is complete."""

    digest: Digest


class Abort(msgspec.Struct, array_like=True):
    """The content cannot be completed; ``message`` says why."""

    message: Text


class Problem(msgspec.Struct, array_like=True):
    """Something of the source that is not sent; ``harmless``: nobody can expect it to be (a socket, say)."""

    source: Number
    parts: Parts
    message: Text
    harmless: bool


class Totals(msgspec.Struct, array_like=True):
    """What was found so far; ``complete``: there is no more."""

    files: Count
    size: Count
    complete: bool


class Failure(msgspec.Struct, array_like=True):
    """One thing that could not be stored."""

    number: Number | None
    source: Number
    parts: Parts
    message: Text


class Arrived(msgspec.Struct, array_like=True):
    """So many files are in place; a sign of life too."""

    files: Count


class Result(msgspec.Struct, array_like=True):
    """All that could be stored is. ``files`` are in place, ``unchanged`` were so before; ``failed`` are not."""

    files: Count
    size: Count
    unchanged: Count
    failed: Count


class Fatal(msgspec.Struct, array_like=True):
    """An :class:`IroshError` that ends the transfer."""

    code: Annotated[str, Meta(max_length=100)]
    message: Text
    hint: Text

    @classmethod
    def of(cls, error: IroshError) -> Fatal:
        """For sending."""
        return cls(str(error.code), error.message[:2000], error.hint[:2000])

    def error(self) -> IroshError:
        """For raising."""
        return IroshError.from_dict(msgspec.structs.asdict(self))


M = TypeVar("M", bound=msgspec.Struct)

_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """The payload of ``message``."""
    return _encoder.encode(message)


def decode(payload: bytes | memoryview, kind: type[M]) -> M:
    """The message in a payload. ``IroshError`` (protocol-error) for anything else."""
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IroshError(ErrorCode.PROTOCOL, f"malformed {kind.__name__} frame: {error}"[:300]) from None


def header(kind: Kind, size: int) -> bytes:
    """What goes before a payload of ``size`` bytes. ``IroshError`` (usage) when too large, which only names can be."""
    if size > MAX_PAYLOAD:
        raise IroshError(ErrorCode.USAGE, "too many names for one transfer", "name the folder they are in, with -r")
    return HEADER.pack(kind, size)


def checked_parts(parts: list[bytes]) -> tuple[bytes, ...]:
    """``parts``, none of which leads anywhere but to something in its folder. ``IroshError`` (protocol-error)."""
    for part in parts:
        if part in (b".", b"..") or b"/" in part or b"\0" in part:
            raise IroshError(ErrorCode.PROTOCOL, f"the peer names a file {part!r}, which no folder can have"[:300])
    return tuple(parts)


def time_of(status: os.stat_result) -> int:
    """When a file was changed, as near to it as a frame can say: some file systems keep any time that is set."""
    return max(-_LATEST, min(status.st_mtime_ns, _LATEST))


class FrameBuffer:
    """Cuts a byte stream into frames, without a copy of their payloads.

    Fill :meth:`space` and say so by :meth:`filled`, then :meth:`take` what is complete.
    """

    def __init__(self) -> None:
        self._bytes = bytearray(2 * (MAX_PAYLOAD + HEADER.size) + _READ_AHEAD)
        self._view = memoryview(self._bytes)
        self._begin = 0
        self._end = 0

    def space(self) -> memoryview:
        """Where the next bytes go; never empty. Payloads taken before are no longer valid.

        No more than the rest of a large frame, with the header of the next: so the same memory is used again and
        again, which the processor still has at hand, and hardly anything of the next has to be moved to the front.
        """
        begun = self._end - self._begin
        needed = _READ_AHEAD
        if begun >= HEADER.size:
            _, size = HEADER.unpack_from(self._bytes, self._begin)
            needed = max(needed, min(size, MAX_PAYLOAD) + 2 * HEADER.size - begun)
        if self._begin and (begun <= HEADER.size or self._end + needed > len(self._bytes)):
            self._view[:begun] = self._view[self._begin : self._end]
            self._begin, self._end = 0, begun
        return self._view[self._end : self._end + needed]

    def filled(self, size: int) -> None:
        """``size`` bytes of :meth:`space` have been written."""
        self._end += size

    @property
    def is_empty(self) -> bool:
        """Whether there is no part of a frame left."""
        return self._begin == self._end

    def take(self) -> tuple[Kind, memoryview] | None:
        """The next frame, valid until :meth:`space` is called. ``IroshError`` (protocol-error) on a broken stream."""
        if self._end - self._begin < HEADER.size:
            return None
        number, size = HEADER.unpack_from(self._bytes, self._begin)
        if size > MAX_PAYLOAD:
            raise IroshError(ErrorCode.PROTOCOL, f"a transfer frame of {size} bytes is over the limit")
        try:
            kind = Kind(number)
        except ValueError:
            raise IroshError(ErrorCode.PROTOCOL, f"unknown transfer frame {number}") from None
        begin = self._begin + HEADER.size
        if self._end - begin < size:
            return None
        self._begin = begin + size
        return kind, self._view[begin : begin + size]
