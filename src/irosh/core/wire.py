"""The frames of protocol ``irosh/1``: a 16-bit big-endian length, then one MessagePack object. Pure, no I/O.

A connection begins with one stream carrying ``Hello`` and ``Welcome``, then the control messages of the session
(:mod:`irosh.transport.session.frames`). Every stream of the session begins with one ``StreamHeader`` from its opener;
the acceptor answers with one ``StreamAnswer``; then the service's bytes follow.
Unknown fields are ignored, so later versions may add some.
"""

from __future__ import annotations

import struct
from typing import TypeVar

import msgspec

from irosh.core.errors import ErrorCode, IroshError

PROTOCOL_VERSION = 2
LENGTH_SIZE = 2
MAX_FRAME = 16 * 1024
_LENGTH = struct.Struct(">H")
_FLOW = struct.Struct(">I")
FLOW_HEADER_SIZE = _FLOW.size

M = TypeVar("M", bound=msgspec.Struct)


class Resume(msgspec.Struct):
    """Asks to go on with a session over this connection; ``token`` proves the right to.

    ``join``: besides the connections that the session has, not in place of them.
    """

    session: bytes
    token: bytes
    join: bool = False

    def __repr__(self) -> str:
        return f"Resume(session={self.session.hex()})"


class Hello(msgspec.Struct, omit_defaults=True):
    """First words of the side that dialled. ``hostname`` suggests how to call a peer that is new.

    ``instance`` tells one run of a node from the next; ``replay_buffer``: bytes it keeps of a stream to send again;
    ``paths``: how the session uses several networks (:class:`irosh.core.paths.Paths`); ``certificate``: an SSH user
    certificate for its identity, 8 KiB at most.
    """

    version: int
    invite: bytes | None = None
    hostname: str = ""
    resume: Resume | None = None
    instance: bytes = b""
    replay_buffer: int = 0
    paths: str = "fastest"
    certificate: bytes = b""

    def __repr__(self) -> str:
        return f"Hello(version={self.version}, invite={'yes' if self.invite else 'no'}, resume={self.resume!r})"


class Welcome(msgspec.Struct, omit_defaults=True):
    """What the accepting side tells an admitted peer about itself: a name to suggest, the Unix user it runs as.

    ``session`` and ``token`` let the peer go on with this session for up to ``resume_for`` seconds after a loss, and
    join further connections to it; ``addresses`` are where it may find the node then. ``machines``: the digest of the
    list of those that the node shows to this peer as its gateway; empty for none.
    """

    version: int
    hostname: str = ""
    user: str = ""
    session: bytes = b""
    token: bytes = b""
    resume_for: float = 0.0
    replay_buffer: int = 0
    addresses: list[str] = []
    machines: bytes = b""

    def __repr__(self) -> str:
        return f"Welcome(version={self.version}, hostname={self.hostname!r}, session={self.session.hex()})"


class StreamHeader(msgspec.Struct):
    """Names the service a stream is for; ``request`` is the service's own message, still encoded."""

    service: str
    request: msgspec.Raw


class WireError(msgspec.Struct, omit_defaults=True):
    """An :class:`IroshError` on the wire."""

    code: str
    message: str
    hint: str = ""


class StreamAnswer(msgspec.Struct, omit_defaults=True):
    """The acceptor's answer: no ``error`` means go on."""

    error: WireError | None = None


_encoder = msgspec.msgpack.Encoder()


def encode_frame(message: msgspec.Struct) -> bytes:
    """One whole frame. ``ValueError`` when the message is larger than ``MAX_FRAME``."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise ValueError(f"message of {len(body)} bytes does not fit a frame")
    return _LENGTH.pack(len(body)) + body


def frame_length(prefix: bytes) -> int:
    """The length of the body that follows; ``IroshError`` (protocol-error) when over the limit or empty."""
    (length,) = _LENGTH.unpack(prefix)
    if not 0 < length <= MAX_FRAME:
        raise IroshError(ErrorCode.PROTOCOL, f"a frame of {length} bytes is outside the limit of {MAX_FRAME}")
    return int(length)


def decode_body(body: bytes | memoryview | msgspec.Raw, kind: type[M]) -> M:
    """The message in a frame's body; ``IroshError`` (protocol-error) for anything else."""
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IroshError(ErrorCode.PROTOCOL, f"malformed {kind.__name__} frame: {error}"[:300]) from None


def encode_request(request: msgspec.Struct) -> msgspec.Raw:
    """A service's request, ready for :class:`StreamHeader`."""
    return msgspec.Raw(_encoder.encode(request))


def answer_of(error: IroshError | None) -> StreamAnswer:
    """The answer that carries ``error`` (None: accepted)."""
    if error is None:
        return StreamAnswer()
    return StreamAnswer(WireError(str(error.code), error.message[:2000], error.hint[:2000]))


def error_in(answer: StreamAnswer) -> IroshError | None:
    """The error an answer carries, if any."""
    if answer.error is None:
        return None
    return IroshError.from_dict(msgspec.structs.asdict(answer.error))


def encode_datagram(flow: int, payload: bytes) -> bytes:
    """A QUIC datagram of flow ``flow`` (32 bits)."""
    return _FLOW.pack(flow) + payload


def decode_datagram(data: bytes) -> tuple[int, bytes] | None:
    """``(flow, payload)``, or None for a datagram too short to name its flow."""
    if len(data) < FLOW_HEADER_SIZE:
        return None
    return _FLOW.unpack_from(data)[0], data[FLOW_HEADER_SIZE:]
