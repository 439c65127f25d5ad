"""Frames of the iroh relay protocol: bytes to typed frames and back, without I/O.

One WebSocket binary message holds one frame: a QUIC variable-length integer (RFC 9000 section 16) naming
its type, then its body. Durations are u32 milliseconds; integers are big endian. The handshake frames (0 to
3) are postcard-encoded: a fixed array is its bytes, a string or byte string has its length in front as a
LEB128 integer. The numbers and layouts are those of iroh-relay's ``protos/common.rs``, ``protos/relay.rs``
and ``protos/handshake.rs``.
"""

from __future__ import annotations

from typing import Final

from irosh.transport.relay.frames import (
    CHALLENGE_SIZE,
    ID_SIZE,
    MAX_BODY,
    MAX_REASON,
    PING_SIZE,
    SIGNATURE_SIZE,
    ClientAuth,
    ClientFrame,
    Datagrams,
    EndpointGone,
    FrameType,
    Health,
    Ping,
    Pong,
    RelayFrame,
    RelayProtocolError,
    Restarting,
    ServerChallenge,
    ServerConfirmsAuth,
    ServerDeniesAuth,
    Status,
)

_BATCH_HEADER: Final = ID_SIZE + 3
_SINGLE_HEADER: Final = ID_SIZE + 1


def encode_client_frame(frame: ClientFrame) -> bytes:
    """The bytes of a frame from a client to a relay.

    Raises:
        RelayProtocolError: a field does not fit the layout.
    """
    match frame:
        case ClientAuth(public_key, signature):
            key = _exact(public_key, ID_SIZE, "public key")
            body = key + bytes((SIGNATURE_SIZE,)) + _exact(signature, SIGNATURE_SIZE, "signature")
            return bytes((FrameType.CLIENT_AUTH,)) + body
        case Datagrams():
            return _encode_datagrams(frame, FrameType.CLIENT_TO_RELAY_DATAGRAM, FrameType.CLIENT_TO_RELAY_BATCH)
        case Ping(data):
            return bytes((FrameType.PING,)) + _exact(data, PING_SIZE, "ping")
        case Pong(data):
            return bytes((FrameType.PONG,)) + _exact(data, PING_SIZE, "pong")


def encode_relay_frame(frame: RelayFrame) -> bytes:
    """The bytes of a frame from a relay to a client.

    Raises:
        RelayProtocolError: a field does not fit the layout.
    """
    match frame:
        case ServerChallenge(challenge):
            return bytes((FrameType.SERVER_CHALLENGE,)) + _exact(challenge, CHALLENGE_SIZE, "challenge")
        case ServerConfirmsAuth():
            return bytes((FrameType.SERVER_CONFIRMS_AUTH,))
        case ServerDeniesAuth(reason):
            text = _utf8(reason, MAX_REASON)
            return bytes((FrameType.SERVER_DENIES_AUTH,)) + _leb128(len(text)) + text
        case Datagrams():
            return _encode_datagrams(frame, FrameType.RELAY_TO_CLIENT_DATAGRAM, FrameType.RELAY_TO_CLIENT_BATCH)
        case EndpointGone(endpoint_id):
            return bytes((FrameType.ENDPOINT_GONE,)) + _exact(endpoint_id, ID_SIZE, "endpoint id")
        case Ping(data):
            return bytes((FrameType.PING,)) + _exact(data, PING_SIZE, "ping")
        case Pong(data):
            return bytes((FrameType.PONG,)) + _exact(data, PING_SIZE, "pong")
        case Health(problem):
            return bytes((FrameType.HEALTH,)) + _utf8(problem, MAX_BODY)
        case Restarting(reconnect_in_ms, try_for_ms):
            return bytes((FrameType.RESTARTING,)) + _u32(reconnect_in_ms) + _u32(try_for_ms)
        case Status(code):
            if not 0 <= code <= 255:
                raise RelayProtocolError(f"the status {code} does not fit a byte")
            return bytes((FrameType.STATUS, code))


def decode_client_frame(data: bytes) -> ClientFrame:
    """The frame that a client sent.

    Raises:
        RelayProtocolError: it is none, is too large, or is one that only a relay may send.
    """
    kind, body = _split(data)
    match kind:
        case FrameType.CLIENT_AUTH:
            if len(body) != ID_SIZE + 1 + SIGNATURE_SIZE or body[ID_SIZE] != SIGNATURE_SIZE:
                raise RelayProtocolError("the client authentication frame is malformed")
            return ClientAuth(body[:ID_SIZE], body[ID_SIZE + 1 :])
        case FrameType.CLIENT_TO_RELAY_DATAGRAM | FrameType.CLIENT_TO_RELAY_BATCH:
            return _decode_datagrams(body, batch=kind == FrameType.CLIENT_TO_RELAY_BATCH)
        case FrameType.PING:
            return Ping(_exact(body, PING_SIZE, "ping"))
        case FrameType.PONG:
            return Pong(_exact(body, PING_SIZE, "pong"))
        case _:
            raise RelayProtocolError(f"a client does not send frames of type {kind}")


def decode_relay_frame(data: bytes) -> RelayFrame:
    """The frame that a relay sent.

    Raises:
        RelayProtocolError: it is none, is too large, or is one that only a client may send.
    """
    kind, body = _split(data)
    match kind:
        case FrameType.SERVER_CHALLENGE:
            return ServerChallenge(_exact(body, CHALLENGE_SIZE, "challenge"))
        case FrameType.SERVER_CONFIRMS_AUTH:
            _exact(body, 0, "confirmation")
            return ServerConfirmsAuth()
        case FrameType.SERVER_DENIES_AUTH:
            size, offset = _read_leb128(body)
            return ServerDeniesAuth(_text(_exact(body[offset:], size, "reason")))
        case FrameType.RELAY_TO_CLIENT_DATAGRAM | FrameType.RELAY_TO_CLIENT_BATCH:
            return _decode_datagrams(body, batch=kind == FrameType.RELAY_TO_CLIENT_BATCH)
        case FrameType.ENDPOINT_GONE:
            return EndpointGone(_exact(body, ID_SIZE, "endpoint id"))
        case FrameType.PING:
            return Ping(_exact(body, PING_SIZE, "ping"))
        case FrameType.PONG:
            return Pong(_exact(body, PING_SIZE, "pong"))
        case FrameType.HEALTH:
            return Health(_text(body))
        case FrameType.RESTARTING:
            _exact(body, 8, "restart notice")
            return Restarting(int.from_bytes(body[:4], "big"), int.from_bytes(body[4:], "big"))
        case FrameType.STATUS:
            return Status(_exact(body, 1, "status")[0])
        case _:
            raise RelayProtocolError(f"a relay does not send frames of type {kind}")


def is_forwardable(data: bytes) -> bool:
    """Whether ``data`` is a client's datagram frame, spelt as every known client spells it, that
    :func:`forward` takes.

    The cheap test of the hot path: False for all other frames, for malformed ones and for odd spellings of
    the type, which :func:`decode_client_frame` then sorts out.
    """
    size = len(data)
    if not size or size > MAX_BODY + 1:
        return False
    kind = data[0]
    return (kind == FrameType.CLIENT_TO_RELAY_BATCH and size > _BATCH_HEADER) or (
        kind == FrameType.CLIENT_TO_RELAY_DATAGRAM and size > _SINGLE_HEADER
    )


def destination(data: bytes) -> bytes:
    """The id to which the forwardable frame ``data`` is addressed."""
    return data[1 : 1 + ID_SIZE]


def forward(data: bytes, source: bytes) -> bytes:
    """The forwardable frame ``data`` as its destination gets it: type 4 or 5 becomes 6 or 7, the source's
    id replaces the destination's, all else stays.
    """
    return bytes((data[0] + 2,)) + source + data[1 + ID_SIZE :]


def _encode_datagrams(frame: Datagrams, single: FrameType, batch: FrameType) -> bytes:
    if not 0 <= frame.ecn <= 255:
        raise RelayProtocolError(f"the ECN value {frame.ecn} does not fit a byte")
    peer = _exact(frame.peer, ID_SIZE, "endpoint id")
    if frame.segment_size is None:
        header = bytes((single,)) + peer + bytes((frame.ecn,))
    elif 1 <= frame.segment_size <= 0xFFFF:
        header = bytes((batch,)) + peer + bytes((frame.ecn,)) + frame.segment_size.to_bytes(2, "big")
    else:
        raise RelayProtocolError(f"the segment size {frame.segment_size} is not between 1 and 65535")
    if len(header) - 1 + len(frame.payload) > MAX_BODY:
        raise RelayProtocolError(f"a payload of {len(frame.payload)} bytes is too large for a frame")
    return header + frame.payload


def _decode_datagrams(body: bytes, *, batch: bool) -> Datagrams:
    header = _BATCH_HEADER if batch else _SINGLE_HEADER
    if len(body) < header:
        raise RelayProtocolError(f"a datagram frame of {len(body)} bytes is too short")
    # A batch with segment size 0 is one datagram, as iroh-relay reads it.
    segment_size = int.from_bytes(body[ID_SIZE + 1 : header], "big") or None
    return Datagrams(body[:ID_SIZE], body[ID_SIZE], segment_size, body[header:])


def _split(data: bytes) -> tuple[int, bytes]:
    """The type and the body of a frame."""
    if not data:
        raise RelayProtocolError("the frame is empty")
    size = 1 << (data[0] >> 6)
    if len(data) < size:
        raise RelayProtocolError("the frame type is cut off")
    if len(data) - size > MAX_BODY:
        raise RelayProtocolError(f"a frame of {len(data)} bytes is too large")
    kind = int.from_bytes(data[:size], "big") & ((1 << (8 * size - 2)) - 1)
    return kind, data[size:]


def _exact(data: bytes, size: int, what: str) -> bytes:
    if len(data) != size:
        raise RelayProtocolError(f"the {what} has {len(data)} bytes instead of {size}")
    return data


def _u32(number: int) -> bytes:
    if not 0 <= number <= 0xFFFF_FFFF:
        raise RelayProtocolError(f"the duration {number} ms does not fit 32 bits")
    return number.to_bytes(4, "big")


def _utf8(text: str, limit: int) -> bytes:
    """``text`` as UTF-8, cut at a character boundary to at most ``limit`` bytes."""
    encoded = text.encode("utf-8", "replace")
    return encoded if len(encoded) <= limit else encoded[:limit].decode("utf-8", "ignore").encode()


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RelayProtocolError("the text is not UTF-8") from None


def _leb128(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _read_leb128(data: bytes) -> tuple[int, int]:
    """The LEB128 number at the start of ``data`` and how many bytes it took; at most 3, enough for every
    frame.
    """
    number = 0
    for index, byte in enumerate(data[:3]):
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, index + 1
    raise RelayProtocolError("the length of the text is malformed")
