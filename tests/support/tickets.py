"""Tickets: one that is full, any there can be, and texts that no ticket would make."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.ticket import MAX_ADDRESSES, MAX_RELAYS, Ticket, parse_target, parse_ticket

ID = Identity.from_secret(bytes(range(32))).id
INVITE = bytes(range(100, 116))
FULL = Ticket(
    ID,
    ("https://relay.example.com/", "http://127.0.0.1:3340"),
    ("192.0.2.7:4433", "[2001:db8::7]:4433"),
    INVITE,
)


def seal(body: bytes, version: int = 1) -> str:
    """The format as its documentation has it, written a second time, for bodies no Ticket would make."""
    content = bytes([version]) + len(body).to_bytes(2, "big") + body
    checksum = hashlib.sha256(b"irosh ticket\0" + content).digest()[:4]
    return "irosh1" + base64.b32encode(content + checksum).decode().rstrip("=").lower()


def refused(text: str, code: ErrorCode = ErrorCode.INVALID_TICKET) -> str:
    """The message a text is refused with, by both parsers."""
    with pytest.raises(IroshError) as caught:
        parse_ticket(text)
    assert caught.value.code == code, caught.value
    with pytest.raises(IroshError, match=re.escape(caught.value.message)):
        parse_target(text)
    return caught.value.message


identities = st.binary(min_size=32, max_size=32).map(Identity.from_secret)
ports = st.integers(1, 65535)
addresses = st.one_of(
    st.builds("{}:{}".format, st.ip_addresses(v=4), ports),
    st.builds("[{}]:{}".format, st.ip_addresses(v=6), ports),
).filter(lambda text: Ticket.fitting(ID, [], [text]).addresses != ())
hosts = st.from_regex(r"[a-z0-9]{1,20}(\.[a-z]{2,9}){0,3}", fullmatch=True)
relays = st.builds(
    lambda scheme, host, port, path: f"{scheme}://{host}{port}{path}",
    st.sampled_from(["http", "https"]),
    hosts,
    st.one_of(st.just(""), ports.map(":{}".format)),
    st.from_regex(r"(/[a-zA-Z0-9._~-]{0,20}){0,3}", fullmatch=True),
)
tickets = st.builds(
    lambda identity, relays, addresses, invite: Ticket(identity.id, tuple(relays), tuple(addresses), invite),
    identities,
    st.lists(relays, max_size=MAX_RELAYS),
    st.lists(addresses, max_size=MAX_ADDRESSES),
    st.none() | st.binary(min_size=16, max_size=16),
)
