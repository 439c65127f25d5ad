"""SOCKS as a server speaks it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socks import (
    MAX_USER_ID,
    Command,
    Handshake,
    Reply,
    Request,
    SocksError,
    answer,
    pack_datagram,
    parse_datagram,
    reply_for,
)

REFUSED4 = bytes((0, 91)) + bytes(6)


def talk(data: bytes) -> tuple[Request | None, bytes, int]:
    """What a server makes of a client that says ``data``: the request, what it is told, how much of it was read."""
    handshake, told, at = Handshake(), b"", 0
    while handshake.request is None and at + handshake.wanted <= len(data):
        wanted = handshake.wanted
        told += handshake.feed(data[at : at + wanted])
        at += wanted
    return handshake.request, told, at


def failure(data: bytes) -> bytes:
    """What a client is told that is refused."""
    with pytest.raises(SocksError) as caught:
        talk(data)
    return caught.value.answer


def five(command: int, address: bytes, port: int = 80) -> bytes:
    return b"\x05\x01\x00" + bytes((5, command, 0)) + address + struct.pack(">H", port)


IPV4 = b"\x01\x7f\0\0\x01"
IPV6 = b"\x04" + bytes(15) + b"\x01"


def name(text: bytes) -> bytes:
    return bytes((3, len(text))) + text


@pytest.mark.parametrize(
    ("data", "request_"),
    [
        (five(1, IPV4), Request(5, Command.CONNECT, "127.0.0.1", 80)),
        (five(1, IPV6), Request(5, Command.CONNECT, "::1", 80)),
        (five(1, name(b"Web.Example.")), Request(5, Command.CONNECT, "web.example", 80)),
        (five(1, name(b"127.0.0.1")), Request(5, Command.CONNECT, "127.0.0.1", 80)),
        (five(1, name(b"[::1]")), Request(5, Command.CONNECT, "::1", 80)),
        (five(3, b"\x01\0\0\0\0", 0), Request(5, Command.UDP_ASSOCIATE, "0.0.0.0", 0)),
        (b"\x04\x01\0\x50\x7f\0\0\x01user\0", Request(4, Command.CONNECT, "127.0.0.1", 80)),
        (b"\x04\x01\0\x50\x7f\0\0\x01\0", Request(4, Command.CONNECT, "127.0.0.1", 80)),
        (b"\x04\x01\0\x50\0\0\0\x01user\0web\0", Request(4, Command.CONNECT, "web", 80)),
    ],
)
def test_requests(data: bytes, request_: Request) -> None:
    behind = b"GET / HTTP/1.0"
    found, told, read = talk(data + behind)
    assert found == request_
    assert told == (b"\x05\x00" if request_.version == 5 else b"")
    assert read == len(data), "bytes behind the request were read"


def test_one_of_several_methods_is_taken() -> None:
    data = b"\x05\x03\x02\x01\x00" + five(1, IPV4)[3:]
    assert talk(data)[:2] == (Request(5, Command.CONNECT, "127.0.0.1", 80), b"\x05\x00")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"GET / HTTP/1.1", b"\x05\xff"),
        (b"\x00", b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        (b"\x05\x01\x02", b"\x05\xff"),
        (five(2, IPV4), answer(Request(5, Command.BIND, "", 0), Reply.COMMAND_NOT_SUPPORTED)),
        (five(9, IPV4), answer(Request(5, Command.BIND, "", 0), Reply.COMMAND_NOT_SUPPORTED)),
        (five(1, b"\x02\0"), answer(Request(5, Command.BIND, "", 0), Reply.ADDRESS_TYPE_NOT_SUPPORTED)),
        (five(1, name(b"")), answer(Request(5, Command.BIND, "", 0), Reply.HOST_UNREACHABLE)),
        (five(1, name(b"a b")), answer(Request(5, Command.BIND, "", 0), Reply.HOST_UNREACHABLE)),
        (five(1, name(b"\xff\xfe")), answer(Request(5, Command.BIND, "", 0), Reply.HOST_UNREACHABLE)),
        (five(1, IPV4, 0), answer(Request(5, Command.BIND, "", 0), Reply.GENERAL_FAILURE)),
        (b"\x05\x01\x00\x04\x01\0\x01\0", answer(Request(5, Command.BIND, "", 0), Reply.GENERAL_FAILURE)),
        (b"\x04\x02\0\x50\x7f\0\0\x01\0", REFUSED4),
        (b"\x04\x01\0\0\x7f\0\0\x01\0", REFUSED4),
        (b"\x04\x01\0\x50\x7f\0\0\x01" + b"u" * (MAX_USER_ID + 1), REFUSED4),
        (b"\x04\x01\0\x50\0\0\0\x01\0" + b"n" * (MAX_USER_ID + 1), REFUSED4),
        (b"\x04\x01\0\x50\0\0\0\x01\0no name\0", REFUSED4),
    ],
)
def test_nonsense_gets_its_answer(data: bytes, told: bytes) -> None:
    assert failure(data) == told


def test_answers() -> None:
    request4, request5 = Request(4, Command.CONNECT, "web", 80), Request(5, Command.CONNECT, "web", 80)
    assert answer(request4, Reply.SUCCEEDED) == bytes((0, 90)) + bytes(6)
    assert answer(request4, Reply.NOT_ALLOWED) == REFUSED4
    assert answer(request5, Reply.NOT_ALLOWED) == b"\x05\x02\x00\x01" + bytes(6)
    assert answer(request5, Reply.SUCCEEDED, ("::1", 1080)) == b"\x05\0\0" + IPV6 + b"\x04\x38"


def test_every_failure_has_a_reply() -> None:
    expected = {
        ErrorCode.DENIED: Reply.NOT_ALLOWED,
        ErrorCode.TARGET_REFUSED: Reply.CONNECTION_REFUSED,
        ErrorCode.TARGET_UNREACHABLE: Reply.HOST_UNREACHABLE,
        ErrorCode.UNREACHABLE: Reply.NETWORK_UNREACHABLE,
        ErrorCode.INTERNAL: Reply.GENERAL_FAILURE,
    }
    assert {code: reply_for(IroshError(code, "")) for code in expected} == expected


HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.sampled_from(["::1", "2001:db8::5"]),
    st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{1,20}){0,5}", fullmatch=True),
)


@given(HOSTS, st.integers(1, 65_535), st.binary(max_size=100))
def test_datagrams_come_back(host: str, port: int, payload: bytes) -> None:
    assert parse_datagram(pack_datagram(host, port, payload)) == (host, port, payload)


@given(st.binary(max_size=300))
def test_any_datagram_is_read_or_dropped(packet: bytes) -> None:
    parsed = parse_datagram(packet)
    if parsed is not None:
        assert parsed[0].isprintable()
        assert 1 <= parsed[1] <= 65_535


def test_fragments_and_stumps_are_dropped() -> None:
    whole = pack_datagram("127.0.0.1", 53, b"payload")
    assert parse_datagram(whole[:2] + b"\x01" + whole[3:]) is None
    for end in range(10):
        assert parse_datagram(whole[:end]) is None


@given(st.one_of(st.binary(max_size=600), st.binary(max_size=600).map(lambda tail: b"\x05\x01\x00" + tail)))
def test_any_client_is_answered(data: bytes) -> None:
    try:
        request, _, read = talk(data)
    except SocksError as error:
        assert len(error.answer) in (2, 8, 10)
    else:
        assert read <= len(data)
        if request is not None:
            assert request.command in (Command.CONNECT, Command.UDP_ASSOCIATE)
            assert request.host.isprintable()
