"""Broken tickets: what is wrong is noticed, and said."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irosh.core import base32
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ticket import MAX_TEXT, Ticket, parse_target, parse_ticket
from tests.support.tickets import FULL, ID, refused, seal, tickets


def test_each_altered_character_is_noticed() -> None:
    text = FULL.encode()
    for position, original in enumerate(text):
        for character in string.ascii_lowercase + string.digits + "A-.\u0661\u212a":
            altered = text[:position] + character + text[position + 1 :]
            try:
                ticket = parse_ticket(altered)
            except IroshError as error:
                assert error.code in (ErrorCode.INVALID_TICKET, ErrorCode.TICKET_VERSION)
            else:
                assert character.isascii()  # the Kelvin sign is no k
                assert character.lower() == original
                assert ticket == FULL


@settings(max_examples=25)
@given(tickets, st.data())
def test_swapped_lost_and_doubled_characters_are_noticed(ticket: Ticket, data: st.DataObject) -> None:
    text = ticket.encode()
    at = data.draw(st.integers(6, len(text) - 2))
    if text[at] != text[at + 1]:
        refused(text[:at] + text[at + 1] + text[at] + text[at + 2 :])
    refused(text[:at] + text[at + 1 :])
    refused(text[:at] + text[at] + text[at:])


def test_each_truncation_is_noticed_and_called_so() -> None:
    text = FULL.encode()
    for size in range(len(text)):
        with pytest.raises(IroshError) as caught:
            parse_ticket(text[:size])
        assert caught.value.code == ErrorCode.INVALID_TICKET
        if size > 6:
            assert "cut short" in caught.value.message
            assert parse_refusal(text[:size]) == caught.value.message
        if size > 14:
            assert f"{size} of {len(text)} characters" in caught.value.message


def parse_refusal(text: str) -> str:
    with pytest.raises(IroshError) as caught:
        parse_target(text)
    return caught.value.message


def test_a_wrong_character_is_named_with_its_position() -> None:
    text = FULL.encode()
    assert "'0' at position 21" in refused(text[:20] + "0" + text[21:])
    # counted in the text as it was pasted, white space and all
    assert "'0' at position 25" in refused("  " + text[:10] + "\r\n" + text[10:20] + "0" + text[21:])
    assert "'ä' at position 7" in refused("irosh1ä" + text[7:])


def test_a_mistyped_ticket_is_called_so() -> None:
    text = FULL.encode()
    for position in (40, 100, len(text) - 1):
        other = "a" if text[position] != "a" else "b"
        assert "mistyped" in refused(text[:position] + other + text[position + 1 :])


def test_what_follows_a_ticket_is_noticed() -> None:
    text = FULL.encode()
    message = refused(text + "abc")
    assert "3 characters too many" in message
    assert "too many" in refused(text + "\n" + text.removeprefix("irosh1"))
    assert "'.' at position" in refused(text + ".")


@pytest.mark.parametrize("version", [0, 2, 7, 255])
def test_another_version_says_to_upgrade(version: int) -> None:
    text = seal(bytes.fromhex(ID) + b"whatever a later version has here", version)
    with pytest.raises(IroshError, match=f"version {version}") as caught:
        parse_ticket(text)
    assert caught.value.code == ErrorCode.TICKET_VERSION
    assert "upgrade" in caught.value.hint
    refused("irosh2" + text[6:], ErrorCode.TICKET_VERSION)
    # but a slip of the finger in it is a slip of the finger
    assert "mistyped" in refused(text[:30] + ("a" if text[30] != "a" else "b") + text[31:])


def test_fields_of_later_versions_are_skipped_or_said_to_need_an_upgrade() -> None:
    assert parse_ticket(seal(bytes.fromhex(ID) + b"\xf0\x03abc\xff\x00")) == Ticket(ID)
    message = refused(seal(bytes.fromhex(ID) + b"\x05\x03abc"), ErrorCode.TICKET_VERSION)
    assert "kind 5" in message


@pytest.mark.parametrize(
    "fields",
    [
        b"\x01",
        b"\x01\x05http",
        b"\x02\x05\xc0\x00\x02\x01\x01",
        b"\x02\x06\xc0\x00\x02\x01\x00\x00",
        b"\x02\x06\x00\x00\x00\x00\x00\x01",
        b"\x03\x06\xc0\x00\x02\x01\x00\x01",
        b"\x04\x0f" + bytes(15),
        b"\x04\x10" + bytes(16) + b"\x04\x10" + bytes(16),
        b"\x02\x06\xc0\x00\x02\x01\x00\x01" + b"\x01\x09http://a/",
        b"\x01\x09http://a\xff",
        b"".join(b"\x02\x06\xc0\x00\x02" + bytes([i]) + b"\x00\x01" for i in range(17)),
        b"".join(b"\x01\x09http://" + bytes([ord("a") + i]) + b"/" for i in range(9)),
    ],
)
def test_fields_with_bad_content_are_refused(fields: bytes) -> None:
    refused(seal(bytes.fromhex(ID) + fields))


@pytest.mark.parametrize("body", [b"", bytes.fromhex(ID)[:31], bytes(32), b"\xff" * 32])
def test_a_ticket_without_a_proper_id_is_refused(body: bytes) -> None:
    assert "endpoint id" in refused(seal(body))


def test_oversized_text_is_refused() -> None:
    assert f"at most {MAX_TEXT}" in refused(FULL.encode() + " " * MAX_TEXT)
    assert "characters" in refused("irosh1" + "a" * 7000)
    refused("irosh1" + "7" * 1000)  # claims more bytes than a ticket can have


@pytest.mark.parametrize("text", ["", " \n", '""', "hello", "irosh", "irosi1aaa", "https://irosh1"])
def test_what_is_no_ticket_at_all_is_refused(text: str) -> None:
    with pytest.raises(IroshError) as caught:
        parse_ticket(text)
    assert caught.value.code == ErrorCode.INVALID_TICKET


@settings(max_examples=200)
@given(
    st.one_of(
        st.text(),
        st.text(base32.ALPHABET + "irosh1").map("irosh1{}".format),
        st.binary(max_size=80).map(seal),
        st.binary(max_size=80).map(lambda junk: seal(bytes.fromhex(ID) + junk)),
        st.binary(max_size=80).map(lambda junk: f"endpoint{base32.encode(junk)}"),
        st.binary(max_size=80).map(lambda j: f"endpoint{base32.encode(b'x00' + bytes.fromhex(ID) + j)}"),
        st.text("0123456789abcdef", min_size=40, max_size=70),
        st.text(base32.ALPHABET, min_size=50, max_size=54),
    )
)
def test_arbitrary_text_raises_nothing_but_irosh_errors(text: str) -> None:
    for parse in (parse_ticket, parse_target):
        try:
            ticket = parse(text)
        except IroshError as error:
            str(error).encode()  # printable
        else:
            assert ticket is None or parse_ticket(ticket.encode()) == ticket
