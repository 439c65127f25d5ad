"""Tickets: the text form, what broken ones are told, and reading iroh's own tickets and endpoint ids."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import string
from random import Random

import pytest
import segno
from hypothesis import given, settings
from hypothesis import strategies as st
from iroh import iroh_ffi as iroh

from irosh.core import base32
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.ticket import MAX_ADDRESSES, MAX_RELAYS, MAX_TEXT, Ticket, parse_target, parse_ticket

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


# --- base32


@given(st.binary(max_size=100))
def test_base32_is_that_of_rfc_4648(data: bytes) -> None:
    text = base32.encode(data)
    assert text == base64.b32encode(data).decode().rstrip("=").lower()
    assert len(text) == base32.encoded_length(len(data))
    assert base32.decode(text) == base32.decode(text.upper()) == data


@given(st.text(base32.ALPHABET, max_size=40))
def test_every_base32_text_is_refused_or_the_only_spelling(text: str) -> None:
    try:
        data = base32.decode(text)
    except base32.Base32Error:
        return
    assert base32.encode(data) == text


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


# --- broken tickets


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


# --- targets


def test_a_target_can_be_an_endpoint_id() -> None:
    word = base32.encode(bytes.fromhex(ID))
    for text in (ID, ID.upper(), word, word.upper(), f" <{ID}>\n", f'"{word}"'):
        assert parse_target(text) == Ticket(ID)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "berlin",
        "dev-server",
        "irosh",
        "irosh-box",
        "irosh2-box",
        "endpoint",
        "endpoint7",
        "endpoint-of-my-office-in-berlin",
        "blob",
        "deadbeef",
        "a" * 40,
        "a-petname.with-very.many_characters-in.it-but.not-an.id",
    ],
)
def test_other_words_are_petnames(text: str) -> None:
    assert parse_target(text) is None


@pytest.mark.parametrize(
    "text",
    [
        ID[:-1],
        ID + "0",
        ID[:-1] + "x",
        ID[:-1] + "-",
        "0" * 64,
        base32.encode(bytes.fromhex(ID))[:-1],
        base32.encode(bytes.fromhex(ID))[:-1] + "1",
        "blobac2xdg3k7vwsnyrxfmo5fyfnz2lqjq5cgoqyk7lmpmtwhm2cswdsaaaaaaaaaaaaaaaaaa",
    ],
)
def test_broken_endpoint_ids_are_not_taken_for_petnames(text: str) -> None:
    with pytest.raises(IroshError) as caught:
        parse_target(text)
    assert caught.value.code == ErrorCode.UNKNOWN_TARGET
    assert caught.value.hint


# --- iroh's own tickets


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
