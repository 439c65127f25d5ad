"""Tickets: the text form, and what can be in one."""

from __future__ import annotations

import re
from random import Random

import pytest
import segno
from hypothesis import given, settings
from hypothesis import strategies as st

from irosh.core import base32
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ticket import MAX_ADDRESSES, MAX_RELAYS, MAX_TEXT, Ticket, parse_target, parse_ticket
from tests.support.tickets import FULL, ID, INVITE, refused, seal, tickets

# --- the text form


@settings(max_examples=30)
@given(tickets)
def test_tickets_round_trip(ticket: Ticket) -> None:
    text = ticket.encode()
    assert re.fullmatch(r"irosh1[a-z2-7]+", text)
    assert len(text) <= MAX_TEXT
    assert parse_ticket(text) == ticket
    assert parse_target(text) == ticket


@settings(max_examples=25)
@given(tickets, st.randoms(use_true_random=False))
def test_case_white_space_and_wrapping_do_not_matter(ticket: Ticket, random: Random) -> None:
    characters = [random.choice([c.lower(), c.upper()]) for c in ticket.encode()]
    for _ in range(random.randrange(10)):
        characters.insert(random.randrange(len(characters)), random.choice([" ", "\n", "\r\n\t", "\u200b", "\u00a0"]))
    text = "".join(characters)
    before, after = random.choice([("", ""), ('"', '"'), ("<", ">"), ("'", "'"), ("\n `", "` \n"), ("“", "”")])
    assert parse_ticket(before + text + after) == ticket


def test_the_text_form_stays_as_it_is() -> None:
    text = (
        "irosh1aeaica5ba677htqqxyoxbxiy45f4bglh4tldbg5fbvpr3xegmqjfkmnyaengq5duobztulzpojswyylzfzsxqylnobwgkltdn5"
        "ws6aivnb2hi4b2f4xtcmrxfyyc4mboge5dgmzugabanqaaaidrcuidciqacdnyaaaaaaaaaaaaaaaaaadrcuiecbsgkzthnbuwu23mnv"
        "xg64drojzwlv5bsy"
    )
    assert FULL.encode() == text
    assert parse_ticket(text) == FULL


def test_the_longest_ticket_fits_its_limit() -> None:
    longest = Ticket(
        ID,
        tuple(f"https://{index}.example/".ljust(255, "x") for index in range(MAX_RELAYS)),
        tuple(f"[2001:db8::{index + 1:x}]:65535" for index in range(MAX_ADDRESSES)),
        INVITE,
    )
    assert len(longest.encode()) <= MAX_TEXT
    assert parse_ticket(longest.encode()) == longest


def test_upper_case_fits_the_alphanumeric_mode_of_a_qr_code() -> None:
    code = segno.make(FULL.encode().upper())
    assert code.mode == "alphanumeric"
    assert parse_ticket(FULL.encode().upper()) == FULL


def test_neither_repr_nor_str_shows_the_invite() -> None:
    for text in (repr(FULL), str(FULL), f"{FULL!a}", str([FULL])):
        assert ID[:10] in text
        assert INVITE.hex() not in text
        assert repr(INVITE)[2:-1] not in text
        assert base32.encode(INVITE) not in text
        assert FULL.encode() not in text
    assert "invite" in str(FULL)
    assert "invite" not in str(Ticket(ID))


# --- what can be in a ticket


def test_values_become_canonical() -> None:
    ticket = Ticket(
        ID.upper(),
        ("https://r.example",) * 2,
        ("[2001:DB8:0::1]:0080", "[::ffff:192.0.2.1]:1", "192.0.2.1:1"),
    )
    assert ticket == Ticket(ID, ("https://r.example",), ("[2001:db8::1]:80", "192.0.2.1:1"))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "192.0.2.1",
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:-1",
        "192.0.2.1:\u0661",
        "192.0.2.256:1",
        "192.0.2.01:1",
        "2001:db8::1:1",
        "[192.0.2.1]:1",
        "[2001:db8::1]",
        "[2001:db8::1%eth0]:1",
        "[fe80::1%2]:1",
        "host.example:1",
        "0.0.0.0:1",
        "[::]:1",
        "224.0.0.1:1",
        "[ff02::1]:1",
        "255.255.255.255:1",
        "192.0.2.1:1 ",
        "192.0.2.1:1\n",
    ],
)
def test_invalid_addresses_are_refused(address: str) -> None:
    with pytest.raises(IroshError) as caught:
        Ticket(ID, (), (address,))
    assert caught.value.code == ErrorCode.INVALID_TICKET
    assert Ticket.fitting(ID, [], ["192.0.2.1:1", address, "192.0.2.1:2"]).addresses == (
        "192.0.2.1:1",
        "192.0.2.1:2",
    )


BAD_RELAYS = [
    "",
    "relay.example",
    "ftp://relay.example",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https://",
    "https:///path",
    "https://:80",
    "https://host:0",
    "https://host:65536",
    "https://host:port",
    "https://[::1",
    "https://user:secret@host",
    "https://user@host",
    "https://ho st",
    "https://host\n",
    "https://h\u00f6st",
    "https://" + "x" * 248,
]


@pytest.mark.parametrize("relay", BAD_RELAYS)
def test_invalid_relays_are_refused(relay: str) -> None:
    with pytest.raises(IroshError) as caught:
        Ticket(ID, (relay,))
    assert caught.value.code == ErrorCode.INVALID_TICKET
    assert "secret" not in str(caught.value)
    field = relay.encode()[:255]
    if field.decode() == relay:  # a longer one cannot even be written down
        refused(seal(bytes.fromhex(ID) + bytes([1, len(field)]) + field))


@pytest.mark.parametrize(
    "relay", ["https://r", "HTTP://R.EXAMPLE:1/p?q=1", "http://[::1]:3340", "https://" + "x" * 247]
)
def test_valid_relays_are_kept_as_they_are(relay: str) -> None:
    assert parse_ticket(Ticket(ID, (relay,)).encode()).relays == (relay,)


def test_limits_and_sizes_are_checked() -> None:
    many_relays = [f"https://{index}.example" for index in range(20)]
    many_addresses = [f"192.0.2.{index}:1" for index in range(20)]
    with pytest.raises(IroshError, match="20 relays, at most 8"):
        Ticket(ID, tuple(many_relays))
    with pytest.raises(IroshError, match="20 addresses, at most 16"):
        Ticket(ID, (), tuple(many_addresses))
    with pytest.raises(IroshError, match="15 bytes instead of 16"):
        Ticket(ID, invite=bytes(15))
    with pytest.raises(IroshError, match="endpoint id") as caught:
        Ticket("0" * 64)
    assert caught.value.code == ErrorCode.INVALID_TICKET
    fitting = Ticket.fitting(ID, many_relays, many_addresses, INVITE)
    assert fitting == Ticket(ID, tuple(many_relays[:8]), tuple(many_addresses[:16]), INVITE)
