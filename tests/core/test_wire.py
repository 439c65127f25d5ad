"""The frames of irosh/1: what is written is read, and nothing hostile gets through."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wire import (
    LENGTH_SIZE,
    MAX_FRAME,
    Hello,
    StreamAnswer,
    StreamHeader,
    Welcome,
    answer_of,
    decode_body,
    decode_datagram,
    encode_datagram,
    encode_frame,
    encode_request,
    error_in,
    frame_length,
)

KINDS = [Hello, Welcome, StreamHeader, StreamAnswer]
printable = st.text(st.characters(codec="utf-8"), max_size=200)


def _body(frame: bytes) -> bytes:
    assert frame_length(frame[:LENGTH_SIZE]) == len(frame) - LENGTH_SIZE
    return frame[LENGTH_SIZE:]


@given(st.integers(0, 2**31), st.none() | st.binary(max_size=64), printable)
def test_hello_round_trip(version: int, invite: bytes | None, hostname: str) -> None:
    hello = Hello(version, invite, hostname)
    assert decode_body(_body(encode_frame(hello)), Hello) == hello


@given(st.integers(0, 100), printable, printable)
def test_welcome_round_trip(version: int, hostname: str, user: str) -> None:
    welcome = Welcome(version, hostname, user)
    assert decode_body(_body(encode_frame(welcome)), Welcome) == welcome


@given(printable, st.integers(0, 100))
def test_header_carries_the_request_of_a_service(service: str, version: int) -> None:
    header = StreamHeader(service, encode_request(Hello(version)))
    decoded = decode_body(_body(encode_frame(header)), StreamHeader)
    assert decoded.service == service
    assert decode_body(decoded.request, Hello) == Hello(version)


def _carried(error: IroshError) -> IroshError:
    found = error_in(decode_body(_body(encode_frame(answer_of(error))), StreamAnswer))
    assert found is not None
    return found


@given(st.sampled_from(ErrorCode), printable, printable)
def test_answers_carry_errors(code: ErrorCode, message: str, hint: str) -> None:
    """What a peer words ends on a terminal: it moves no cursor, sets no title, and forges no line."""
    error = _carried(IroshError(code, message, hint))
    assert error.code is code
    for said, sent in ((error.message, message), (error.hint, hint)):
        assert said.isprintable()
        assert said == sent or not sent.isprintable()
    again = _carried(error)
    assert (again.message, again.hint) == (error.message, error.hint)


def test_an_error_cannot_write_to_the_terminal() -> None:
    said = "no\x1b]0;title\x07\r\nroot@host:~# \x9b2J\u202e"
    error = _carried(IroshError(ErrorCode.DENIED, said, said))
    assert error.message == error.hint == r"no\x1b]0;title\x07\r\nroot@host:~# \x9b2J\u202e"


def test_good_answer_has_no_error() -> None:
    assert error_in(decode_body(_body(encode_frame(answer_of(None))), StreamAnswer)) is None


@given(st.binary(max_size=300), st.sampled_from(KINDS))
def test_arbitrary_bytes_are_a_message_or_a_protocol_error(body: bytes, kind: type[msgspec.Struct]) -> None:
    try:
        assert isinstance(decode_body(body, kind), kind)
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL


@given(st.binary(min_size=LENGTH_SIZE, max_size=LENGTH_SIZE))
def test_lengths_outside_the_limit_are_refused(prefix: bytes) -> None:
    length = int.from_bytes(prefix, "big")
    if 0 < length <= MAX_FRAME:
        assert frame_length(prefix) == length
    else:
        with pytest.raises(IroshError):
            frame_length(prefix)


def test_an_oversize_message_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_frame(Welcome(1, "x" * (MAX_FRAME + 1)))


def test_unknown_fields_of_later_versions_are_ignored() -> None:
    body = msgspec.msgpack.encode({"version": 1, "hostname": "h", "colour": "blue"})
    assert decode_body(body, Welcome) == Welcome(1, "h")


def test_deeply_nested_garbage_is_refused() -> None:
    with pytest.raises(IroshError):
        decode_body(b"\x91" * 10_000, StreamHeader)


def test_a_hello_never_shows_its_invite() -> None:
    assert "secret" not in repr(Hello(1, b"secret-secret-16"))


@given(st.integers(0, 2**32 - 1), st.binary(max_size=1500))
def test_datagram_round_trip(flow: int, payload: bytes) -> None:
    assert decode_datagram(encode_datagram(flow, payload)) == (flow, payload)


@given(st.binary(max_size=3))
def test_short_datagrams_name_no_flow(data: bytes) -> None:
    assert decode_datagram(data) is None
