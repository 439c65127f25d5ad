"""ICE descriptions: they come back as they were; what strangers put into them is refused or left out."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import (
    MAX_CANDIDATES,
    IceDescription,
    decode_description,
    is_candidate_address,
    usable_candidates,
)
from irosh.core.identity import Identity

ID = Identity.from_secret(bytes(range(32))).id
PWD = "p" * 22
HOST = "abc 1 udp 2130706431 192.0.2.1 4242 typ host"

candidates = st.builds(
    "{} 1 udp {} {} {} typ {}".format,
    st.text("0123456789abcdef", min_size=1, max_size=32),
    st.integers(0, 2**32 - 1),
    st.ip_addresses().map(str).filter(is_candidate_address),
    st.integers(1, 65535),
    st.sampled_from(["host", "srflx", "relay"]),
)
descriptions = st.builds(
    IceDescription,
    st.binary(min_size=32, max_size=32).map(lambda secret: Identity.from_secret(secret).id),
    st.text("abcXYZ019+/", min_size=4, max_size=64),
    st.text("abcXYZ019+/", min_size=22, max_size=128),
    st.lists(candidates, max_size=MAX_CANDIDATES, unique=True).map(tuple),
    st.lists(st.sampled_from(["https://relay.example", "http://127.0.0.1:3340"]), unique=True).map(tuple),
)


@given(descriptions)
def test_a_description_comes_back(description: IceDescription) -> None:
    assert decode_description(description.encode(), sender=description.endpoint_id) == description


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(IroshError) as caught:
        decode_description(data)
    assert caught.value.code is ErrorCode.PROTOCOL


@given(descriptions, st.data())
def test_a_cut_description_is_refused(description: IceDescription, data: st.DataObject) -> None:
    encoded = description.encode()
    with pytest.raises(IroshError):
        decode_description(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


def test_the_password_is_not_shown() -> None:
    assert PWD not in repr(IceDescription(ID, "abcd", PWD))


def test_it_has_to_be_about_its_sender() -> None:
    other = Identity.from_secret(bytes(range(1, 33))).id
    with pytest.raises(IroshError) as caught:
        decode_description(IceDescription(ID, "abcd", PWD).encode(), sender=other)
    assert caught.value.code is ErrorCode.IDENTITY_MISMATCH


@pytest.mark.parametrize(("ufrag", "pwd"), [("abc", PWD), ("abcd", "short"), ("ab:d", PWD), ("abcd", "p" * 21 + "\n")])
def test_credentials_of_another_form_are_refused(ufrag: str, pwd: str) -> None:
    with pytest.raises(IroshError, match="credentials"):
        decode_description(IceDescription(ID, ufrag, pwd).encode())


@pytest.mark.parametrize(
    "line",
    [
        "abc 1 udp 2130706431 name.example 4242 typ host",
        "abc 1 udp 2130706431 box.local 4242 typ host",
        "abc 1 tcp 2130706431 192.0.2.1 4242 typ host",
        "abc 2 udp 2130706431 192.0.2.1 4242 typ host",
        "abc 1 udp 2130706431 192.0.2.1 0 typ host",
        "abc 1 udp 2130706431 192.0.2.1 65536 typ host",
        "abc 1 udp 9999999999 192.0.2.1 4242 typ host",
        "abc 1 udp 2130706431 224.0.0.1 4242 typ host",
        "abc 1 udp 2130706431 0.0.0.0 4242 typ host",
        "abc 1 udp 2130706431 255.255.255.255 4242 typ host",
        "abc 1 udp 2130706431 fe80::1 4242 typ host",
        "abc 1 udp 2130706431 ::ffff:192.0.2.1 4242 typ host",
        "abc 1 udp 2130706431 192.0.2.1 4242 typ prflx",
        HOST + "\n",
        "",
    ],
)
def test_what_is_no_usable_candidate_is_left_out(line: str) -> None:
    assert usable_candidates([line, HOST, HOST]) == (HOST,)
    assert decode_description(IceDescription(ID, "abcd", PWD, (line,)).encode()).candidates == ()


def test_there_is_a_limit() -> None:
    many = [f"abc 1 udp 1 192.0.2.1 {port} typ host" for port in range(1, 100)]
    assert len(usable_candidates(many)) == MAX_CANDIDATES
    with pytest.raises(IroshError, match="bytes"):
        decode_description(IceDescription(ID, "abcd", PWD, tuple(many * 20)).encode())


def test_relays_that_are_no_urls_are_left_out() -> None:
    description = IceDescription(ID, "abcd", PWD, (), ("https://user:secret@relay.example", "https://relay.example"))
    assert decode_description(description.encode()).relays == ("https://relay.example",)


def test_later_versions_may_add_fields() -> None:
    fields = [*msgspec.msgpack.decode(IceDescription(ID, "abcd", PWD).encode()), "more"]
    assert decode_description(msgspec.msgpack.encode(fields)).ufrag == "abcd"
