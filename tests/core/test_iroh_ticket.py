"""iroh's own tickets, read as ours are."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iroh import iroh_ffi as iroh

from irosh.core import base32
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.ticket import MAX_ADDRESSES, MAX_TEXT, Ticket, parse_target
from tests.support.tickets import ID, addresses, identities, relays


def iroh_ticket(endpoint_id: str, relay: str | None, addresses: list[str]) -> str:
    public = iroh.EndpointId.from_bytes(bytes.fromhex(endpoint_id))
    return str(iroh.EndpointTicket.from_addr(iroh.EndpointAddr(public, relay, addresses)))


def postcard_ticket(*fields: bytes, count: int | None = None) -> str:
    """An iroh ticket with these address fields, for what the bindings cannot make."""
    head = b"\0" + bytes.fromhex(ID) + bytes([len(fields) if count is None else count])
    return "endpoint" + base32.encode(head + b"".join(fields))


V4 = b"\1\0\xc0\0\2\1\x50"  # 192.0.2.1:80

IROH_RELAYS = [None, "https://relay.example.com/", "http://127.0.0.1:3340/", "https://euw1-1.relay.example./"]
IROH_ADDRESSES = ["192.0.2.7:4433", "127.0.0.1:1", "[2001:db8::7]:65535", "[::1]:128", "10.0.0.1:16384"]


@pytest.mark.parametrize("relay", IROH_RELAYS)
@pytest.mark.parametrize("count", range(len(IROH_ADDRESSES) + 1))
def test_every_kind_of_iroh_ticket_is_read(relay: str | None, count: int) -> None:
    for chosen in itertools.combinations(IROH_ADDRESSES, count):
        text = iroh_ticket(ID, relay, list(chosen))
        theirs = iroh.EndpointTicket.from_string(text).endpoint_addr()
        for variant in (text, text.upper(), f"<{text}>", text[:30] + "\n" + text[30:]):
            ticket = parse_target(variant)
            assert ticket is not None
            assert ticket.endpoint_id == str(theirs.id())
            assert ticket.relays == (() if relay is None else (theirs.relay_url(),))
            assert list(ticket.addresses) == theirs.direct_addresses()
            assert ticket.invite is None


@settings(max_examples=30)
@given(identities, st.none() | relays, st.lists(addresses, max_size=MAX_ADDRESSES))
def test_iroh_tickets_agree_with_the_bindings(identity: Identity, relay: str | None, addresses: list[str]) -> None:
    text = iroh_ticket(identity.id, relay, addresses)
    theirs = iroh.EndpointTicket.from_string(text).endpoint_addr()
    url = theirs.relay_url()
    expected = Ticket(identity.id, () if url is None else (url,), tuple(theirs.direct_addresses()))
    assert parse_target(text) == expected


def test_custom_and_unknown_address_kinds_are_skipped() -> None:
    custom, unknown = b"\2\x85\x01\3abc", b"\3whatever"
    expected = Ticket(ID, (), ("192.0.2.1:80",))
    for text in (postcard_ticket(custom, V4), postcard_ticket(V4, custom)):
        assert iroh.EndpointTicket.from_string(text).endpoint_addr().direct_addresses() == ["192.0.2.1:80"]
        assert parse_target(text) == expected
    assert parse_target(postcard_ticket(V4, unknown)) == expected
    assert parse_target(postcard_ticket(b"\0\x0bftp://host/", V4)) == expected
    assert parse_target(postcard_ticket(b"\1\0\xc0\0\2\1\0", V4)) == expected  # port 0


def test_more_addresses_than_a_ticket_holds_are_cut_off() -> None:
    addresses = [f"192.0.2.{index}:1" for index in range(1, 30)]
    ticket = parse_target(iroh_ticket(ID, None, addresses))
    assert ticket is not None
    assert list(ticket.addresses) == addresses[:MAX_ADDRESSES]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (postcard_ticket(V4)[:-1], "cut short"),
        (postcard_ticket(V4)[:-4], "cut short"),
        (postcard_ticket(V4)[:40], "cut short"),
        (postcard_ticket(V4, count=2), "cut short"),
        (postcard_ticket(V4, b"more", count=1), "4 bytes too many"),
        (postcard_ticket(V4)[:30] + "1" + postcard_ticket(V4)[31:], "'1' at position 31"),
        (postcard_ticket(V4)[:30] + "-" + postcard_ticket(V4)[31:], "'-' at position 31"),
        (postcard_ticket(b"\1\2\xc0\0\2\1\x50"), "mistyped"),
        (postcard_ticket(b"\0\3abc"), "mistyped"),
        (postcard_ticket(b"\2" + b"\xff" * 10 + b"\0"), "mistyped"),
        ("endpoint" + base32.encode(b"\1" + bytes.fromhex(ID) + b"\0"), "unknown layout 1"),
        ("endpoint" + base32.encode(b"\0" + bytes(32) + b"\0"), "no Ed25519 public key"),
        ("endpoint" + "a" * 7000, str(MAX_TEXT)),
    ],
)
def test_broken_iroh_tickets_are_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(IroshError, match=re.escape(problem)) as caught:
        parse_target(text)
    assert caught.value.code == ErrorCode.INVALID_TICKET
