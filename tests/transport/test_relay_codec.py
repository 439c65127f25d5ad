"""The relay protocol's frames: layout, round trips, and that no input raises anything but the one error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode
from irosh.transport.relay import codec
from irosh.transport.relay.frames import (
    MAX_BODY,
    ClientAuth,
    ClientFrame,
    Datagrams,
    EndpointGone,
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

# The public key of the secret key 42, 42, ..., as in iroh-relay's own snapshot tests.
KEY = bytes.fromhex("197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d61")
HELLO = b"Hello World!"

RELAY_VECTORS: list[tuple[RelayFrame, str]] = [
    (ServerChallenge(bytes(range(16))), "00 000102030405060708090a0b0c0d0e0f"),
    (ServerConfirmsAuth(), "02"),
    (ServerDeniesAuth("no"), "03 02 6e6f"),
    (Datagrams(KEY, 3, None, HELLO), f"06 {KEY.hex()} 03 {HELLO.hex()}"),
    (Datagrams(KEY, 3, 6, HELLO), f"07 {KEY.hex()} 03 0006 {HELLO.hex()}"),
    (EndpointGone(KEY), f"08 {KEY.hex()}"),
    (Ping(b"*" * 8), "09 2a2a2a2a2a2a2a2a"),
    (Pong(b"*" * 8), "0a 2a2a2a2a2a2a2a2a"),
    (Health("Hello? Yes this is dog."), "0b 48656c6c6f3f2059657320746869732069 7320646f672e"),
    (Restarting(10, 20), "0c 0000000a 00000014"),
    (Status(1), "0d 01"),
]
CLIENT_VECTORS: list[tuple[ClientFrame, str]] = [
    (ClientAuth(KEY, b"s" * 64), f"01 {KEY.hex()} 40 {'73' * 64}"),
    (Datagrams(KEY, 3, None, HELLO), f"04 {KEY.hex()} 03 {HELLO.hex()}"),
    (Datagrams(KEY, 3, 6, HELLO), f"05 {KEY.hex()} 03 0006 {HELLO.hex()}"),
    (Ping(b"*" * 8), "09 2a2a2a2a2a2a2a2a"),
    (Pong(b"*" * 8), "0a 2a2a2a2a2a2a2a2a"),
]

ids = st.binary(min_size=32, max_size=32)
octets = st.integers(0, 255)
u32 = st.integers(0, 2**32 - 1)
pings = st.binary(min_size=8, max_size=8)
datagrams = st.builds(Datagrams, ids, octets, st.none() | st.integers(1, 0xFFFF), st.binary(max_size=4000))
client_frames = st.one_of(
    st.builds(ClientAuth, ids, st.binary(min_size=64, max_size=64)),
    st.builds(Ping, pings),
    st.builds(Pong, pings),
    datagrams,
)
relay_frames = st.one_of(
    st.builds(ServerChallenge, st.binary(min_size=16, max_size=16)),
    st.just(ServerConfirmsAuth()),
    st.builds(ServerDeniesAuth, st.text(max_size=250)),
    datagrams,
    st.builds(EndpointGone, ids),
    st.builds(Ping, pings),
    st.builds(Pong, pings),
    st.builds(Health, st.text(max_size=250)),
    st.builds(Restarting, u32, u32),
    st.builds(Status, octets),
)
# Bytes that look enough like a frame to get past the first checks.
garbage = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda kind, body: bytes((kind,)) + body, st.integers(0, 15), st.binary(max_size=200)),
    st.builds(lambda kind, size: bytes((kind,)) + bytes(size), st.integers(0, 15), st.integers(0, MAX_BODY + 3)),
)


@pytest.mark.parametrize(("frame", "encoded"), RELAY_VECTORS, ids=lambda value: type(value).__name__)
def test_relay_frames_have_the_layout_of_the_protocol(frame: RelayFrame, encoded: str) -> None:
    assert codec.encode_relay_frame(frame) == bytes.fromhex(encoded)
    assert codec.decode_relay_frame(bytes.fromhex(encoded)) == frame


@pytest.mark.parametrize(("frame", "encoded"), CLIENT_VECTORS, ids=lambda value: type(value).__name__)
def test_client_frames_have_the_layout_of_the_protocol(frame: ClientFrame, encoded: str) -> None:
    assert codec.encode_client_frame(frame) == bytes.fromhex(encoded)
    assert codec.decode_client_frame(bytes.fromhex(encoded)) == frame


@given(client_frames)
def test_client_frames_survive_the_round_trip(frame: ClientFrame) -> None:
    assert codec.decode_client_frame(codec.encode_client_frame(frame)) == frame


@given(relay_frames)
def test_relay_frames_survive_the_round_trip(frame: RelayFrame) -> None:
    assert codec.decode_relay_frame(codec.encode_relay_frame(frame)) == frame


@given(garbage)
def test_no_bytes_raise_anything_but_the_protocol_error(data: bytes) -> None:
    for decode in (codec.decode_client_frame, codec.decode_relay_frame):
        try:
            decode(data)
        except RelayProtocolError as error:
            assert error.code is ErrorCode.PROTOCOL
            assert error.message


@given(garbage | datagrams.map(codec.encode_client_frame), ids)
def test_what_is_forwarded_is_what_decoding_and_encoding_would_give(data: bytes, source: bytes) -> None:
    try:
        frame = codec.decode_client_frame(data)
    except RelayProtocolError:
        frame = None
    if codec.is_forwardable(data):
        assert isinstance(frame, Datagrams)
        assert codec.destination(data) == frame.peer
        forwarded = codec.decode_relay_frame(codec.forward(data, source))
        assert forwarded == Datagrams(source, frame.ecn, frame.segment_size, frame.payload)
    elif isinstance(frame, Datagrams):
        assert data[0] >= 0x40  # only an unusual spelling of the type is left to the slow path


@pytest.mark.parametrize("spelling", ["4004", "80000004", "c000000000000004"])
def test_longer_spellings_of_the_type_are_understood_but_left_to_the_slow_path(spelling: str) -> None:
    data = bytes.fromhex(spelling) + KEY + b"\0x"
    assert codec.decode_client_frame(data) == Datagrams(KEY, 0, None, b"x")
    assert not codec.is_forwardable(data)


def test_a_frame_may_have_64_kib_after_its_type_and_no_more() -> None:
    largest = b"\x04" + KEY + bytes(MAX_BODY - 32)
    assert codec.is_forwardable(largest)
    assert len(codec.forward(largest, KEY)) == MAX_BODY + 1
    too_large = largest + b"\0"
    assert not codec.is_forwardable(too_large)
    with pytest.raises(RelayProtocolError, match="too large"):
        codec.decode_client_frame(too_large)
    with pytest.raises(RelayProtocolError, match="too large"):
        codec.encode_client_frame(Datagrams(KEY, 0, None, bytes(MAX_BODY - 32)))


def test_a_batch_with_segment_size_zero_is_one_datagram() -> None:
    data = b"\x05" + KEY + b"\x01\x00\x00" + HELLO
    assert codec.decode_client_frame(data) == Datagrams(KEY, 1, None, HELLO)


@pytest.mark.parametrize(
    "frame",
    [
        ServerChallenge(b"short"),
        Datagrams(b"short", 0, None, b""),
        Datagrams(KEY, 256, None, b""),
        Datagrams(KEY, 0, 0, b""),
        Datagrams(KEY, 0, 65536, b""),
        Restarting(2**32, 0),
        Restarting(-1, 0),
        Status(256),
        Ping(b"123456789"),
    ],
    ids=repr,
)
def test_fields_that_do_not_fit_are_refused(frame: RelayFrame) -> None:
    with pytest.raises(RelayProtocolError):
        codec.encode_relay_frame(frame)


def test_a_long_reason_is_cut_between_characters() -> None:
    decoded = codec.decode_relay_frame(codec.encode_relay_frame(ServerDeniesAuth("é" * 2000)))
    assert decoded == ServerDeniesAuth("é" * 512)


@pytest.mark.parametrize("body", ["", "80", "808080", "05616263", "02ffff"])
def test_a_malformed_reason_is_refused(body: str) -> None:
    with pytest.raises(RelayProtocolError):
        codec.decode_relay_frame(b"\x03" + bytes.fromhex(body))
