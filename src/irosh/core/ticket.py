"""Tickets: a line of text that says how to reach a node and, optionally, carries an invite.

The text is ``irosh1`` and lower-case base32, so it survives being typed in capitals, wrapped by a mail
program, or put in a QR code (upper-cased, it fits the compact alphanumeric mode). The bytes, numbers being
big-endian::

    version    1 byte, 1
    length     2 bytes, of the body
    body       the 32-byte endpoint id, then fields: kind (1 byte), length (1 byte), content
    checksum   the first 4 bytes of SHA-256 over "irosh ticket\\0", version, length and body

Fields stand in the order of their kinds, addresses of both kinds mixed in order of preference:

====  =============================================================
kind  content
====  =============================================================
1     relay URL, ASCII
2     IPv4 address (4 bytes) and UDP port (2 bytes)
3     IPv6 address (16 bytes) and UDP port (2 bytes)
4     invite, a 16-byte secret
128   Nostr public key, 32 bytes (the x coordinate of BIP-340)
129   Nostr relay URL, ASCII
130   rendezvous mode to use, ASCII; without it iroh-default
====  =============================================================

Later versions of irosh may add kinds. One from 128 up can be ignored by a reader that does not know it; a
lower one cannot. Version, length and checksum stay where they are, so that "too new" can be told from
"mistyped".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from irosh.core import base32
from irosh.core.endpoint_address import (
    check_relay_url,
    format_socket_address,
    parse_socket_address,
    socket_address,
)
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import EndpointId, parse_endpoint_id, short_id
from irosh.core.iroh_ticket import decode_endpoint_ticket
from irosh.core.mode import Mode
from irosh.core.network_options import parse_nostr_relay
from irosh.core.nostr_key import format_npub, parse_npub
from irosh.core.pasted import Pasted
from irosh.core.petname import LONGEST as LONGEST_NAME
from irosh.core.wording import quoted

PREFIX = "irosh1"
VERSION = 1
INVITE_SIZE = 16  # bytes
MAX_TEXT = 6144  # characters
MAX_RELAYS = 8
MAX_ADDRESSES = 16
MAX_NOSTR_RELAYS = 4

_IROH_PREFIX = "endpoint"
_CHECKSUM_TAG = b"irosh ticket\0"
_CHECKSUM_SIZE = 4
_HEADER_SIZE = 3
_RELAY, _IPV4, _IPV6, _INVITE, _FIRST_OPTIONAL = 1, 2, 3, 4, 128
_NOSTR_KEY, _NOSTR_RELAY, _MODE = 128, 129, 130

_COPY_AGAIN = "copy the whole ticket again"


@dataclass(frozen=True, repr=False)
class Ticket:
    """How to reach a node. Relays and addresses stand in order of preference; all values are canonical.

    Raises:
        IroshError: ``INVALID_TICKET`` if a value is not valid or a limit of this module is exceeded.
    """

    endpoint_id: EndpointId
    relays: tuple[str, ...] = ()
    """Relay URLs."""
    addresses: tuple[str, ...] = ()
    """UDP addresses, ``ip:port`` or ``[ip6]:port``."""
    invite: bytes | None = None
    """A 16-byte one-time secret that pins whoever brings it as a peer. Never shown by ``repr`` or ``str``."""
    mode: Mode = Mode.IROH_DEFAULT
    """The rendezvous that the host means to be met by."""
    npub: str | None = None
    """The host's Nostr key."""
    nostr_relays: tuple[str, ...] = ()
    """URLs of the Nostr relays at which it listens."""

    def __post_init__(self) -> None:
        try:
            endpoint_id = parse_endpoint_id(self.endpoint_id)
            relays = tuple(dict.fromkeys(check_relay_url(url) for url in self.relays))
            addresses = tuple(dict.fromkeys(_canonical_address(address) for address in self.addresses))
            nostr_relays = tuple(dict.fromkeys(parse_nostr_relay(url) for url in self.nostr_relays))
            npub = None if self.npub is None else format_npub(parse_npub(self.npub))
        except (IroshError, ValueError) as error:
            problem = error.message if isinstance(error, IroshError) else str(error)
            raise _invalid(f"the ticket cannot be used: {problem}") from None
        for items, limit, what in (
            (relays, MAX_RELAYS, "relays"),
            (addresses, MAX_ADDRESSES, "addresses"),
            (nostr_relays, MAX_NOSTR_RELAYS, "Nostr relays"),
        ):
            if len(items) > limit:
                raise _invalid(f"the ticket names {len(items)} {what}, at most {limit} are allowed")
        if self.invite is not None and len(self.invite) != INVITE_SIZE:
            raise _invalid(f"the ticket's invite has {len(self.invite)} bytes instead of {INVITE_SIZE}")
        object.__setattr__(self, "endpoint_id", endpoint_id)
        object.__setattr__(self, "relays", relays)
        object.__setattr__(self, "addresses", addresses)
        object.__setattr__(self, "nostr_relays", nostr_relays)
        object.__setattr__(self, "npub", npub)

    @classmethod
    def fitting(
        cls,
        endpoint_id: EndpointId,
        relays: Iterable[str],
        addresses: Iterable[str],
        invite: bytes | None = None,
        *,
        mode: Mode = Mode.IROH_DEFAULT,
        npub: str | None = None,
        nostr_relays: Iterable[str] = (),
    ) -> Ticket:
        """A ticket with as many of the valid relays and addresses as it can hold, the first ones first.

        For values a machine found out about itself, such as link-local addresses with a zone, not typed ones.

        Raises:
            IroshError: ``INVALID_TICKET`` if the endpoint id or the invite is not valid.
        """
        return cls(
            endpoint_id,
            tuple(_valid(relays, check_relay_url)[:MAX_RELAYS]),
            tuple(_valid(addresses, _canonical_address)[:MAX_ADDRESSES]),
            invite,
            mode,
            npub,
            tuple(nostr_relays)[:MAX_NOSTR_RELAYS],
        )

    def encode(self) -> str:
        """The ticket's text, which :func:`parse_ticket` reads. Secret if there is an invite: it is in it."""
        body = bytes.fromhex(self.endpoint_id)
        body += b"".join(_field(_RELAY, url.encode()) for url in self.relays)
        for text in self.addresses:
            address, port = parse_socket_address(text)
            body += _field(_IPV4 if address.version == 4 else _IPV6, address.packed + port.to_bytes(2, "big"))
        if self.invite is not None:
            body += _field(_INVITE, self.invite)
        if self.npub is not None:
            body += _field(_NOSTR_KEY, parse_npub(self.npub))
        body += b"".join(_field(_NOSTR_RELAY, url.encode()) for url in self.nostr_relays)
        if self.mode is not Mode.IROH_DEFAULT:
            body += _field(_MODE, self.mode.encode())
        return PREFIX + base32.encode(_seal(VERSION, body))

    def __str__(self) -> str:
        parts = [f"{len(self.relays)} relays", f"{len(self.addresses)} addresses"]
        if self.invite is not None:
            parts.append("with an invite")
        return f"ticket for {short_id(self.endpoint_id)} ({', '.join(parts)})"

    def __repr__(self) -> str:
        invite = "None" if self.invite is None else "<secret>"
        return (
            f"Ticket(endpoint_id={self.endpoint_id!r}, relays={self.relays!r}, addresses={self.addresses!r}, "
            f"invite={invite}, mode={self.mode!r}, npub={self.npub!r}, nostr_relays={self.nostr_relays!r})"
        )


def parse_ticket(text: str) -> Ticket:
    """The ticket that ``text`` spells, in either case, with any white space, in quotes or ``<>`` or not.

    Raises:
        IroshError: ``TICKET_VERSION`` if it takes a newer irosh to read it, else ``INVALID_TICKET``; the
            message says what is wrong: cut short, mistyped (and where, if that shows), too long.
    """
    if len(text) > MAX_TEXT:
        raise _invalid(f"the ticket has {len(text)} characters, at most {MAX_TEXT} are possible")
    pasted = Pasted(text)
    if not pasted.text:
        raise _invalid("the ticket is empty")
    generation = re.match(r"irosh([0-9])", pasted.text)
    if generation is None:
        raise _invalid(f"this is not an irosh ticket: it does not begin with {PREFIX}", _COPY_AGAIN)
    if generation[1] != PREFIX[-1]:
        raise _too_new(f"the ticket begins with {generation[0]}, this irosh reads {PREFIX}")
    return _decode(_open_sealed(pasted))


def parse_target(text: str) -> Ticket | None:
    """The ticket that a TARGET stands for: an irosh ticket, iroh's ``EndpointTicket`` or a bare endpoint id.

    None if it looks like none of these, and so is a petname. All that begins with ``irosh1`` looks like a
    ticket; ``endpoint`` and other versions must go on for 24 letters and digits; an id has 48 or more.

    Raises:
        IroshError: what :func:`parse_ticket` raises, or ``UNKNOWN_TARGET``, if it is one of these but broken.
    """
    pasted = Pasted(text[: MAX_TEXT + 1])
    other_version = re.match(r"irosh[0-9]", pasted.text) and _looks_encoded(pasted.text[len(PREFIX) :], 24)
    if pasted.text.startswith(PREFIX) or other_version:
        return parse_ticket(text)
    if pasted.text.startswith(_IROH_PREFIX) and _looks_encoded(pasted.text[len(_IROH_PREFIX) :], 24):
        return _parse_endpoint_ticket(text)
    if not _looks_encoded(pasted.text, 48):
        return None
    other = re.match(r"(node|blob|doc)a[a-z2-7]{54}", pasted.text)
    if other is not None:
        raise IroshError(
            ErrorCode.UNKNOWN_TARGET,
            f"this looks like an iroh {other[1]} ticket, which does not tell how to reach an irosh node",
            "ask for a ticket that begins with irosh1 or endpoint",
        )
    return Ticket(parse_endpoint_id(pasted.text))


def _parse_endpoint_ticket(text: str) -> Ticket:
    """The Ticket with what a plain iroh ``EndpointTicket`` holds, as far as it fits."""
    if len(text) > MAX_TEXT:
        raise _invalid(f"the iroh ticket has more than the {MAX_TEXT} characters allowed")
    pasted = Pasted(text)
    try:
        body = base32.decode(pasted.text[len(_IROH_PREFIX) :])
        endpoint_id, relays, addresses = decode_endpoint_ticket(body)
    except base32.Base32Error as error:
        raise _misspelt(error, pasted, len(_IROH_PREFIX)) from None
    except ValueError as error:
        raise _invalid(f"the iroh ticket {error}", _COPY_AGAIN) from None
    return Ticket.fitting(endpoint_id.hex(), relays, addresses)


def _looks_encoded(text: str, least: int) -> bool:
    # In one longer than any name, a stray character is a slip.
    return len(text) >= least and (text.isalnum() or len(text) > LONGEST_NAME)


def _seal(version: int, body: bytes) -> bytes:
    """``version, length, body, checksum``."""
    sealed = bytes([version]) + len(body).to_bytes(2, "big") + body
    return sealed + _checksum(sealed)


def _open_sealed(pasted: Pasted) -> bytes:
    """The body of the sealed bytes that follow the prefix, once length, checksum and version are right."""
    text = pasted.text[len(PREFIX) :]
    bad = next((index for index, character in enumerate(text) if character not in base32.ALPHABET), None)
    if bad is not None:
        where = pasted.position(len(PREFIX) + bad)
        raise _invalid(
            f"the ticket is mistyped: illegal character {quoted(text[bad])} at position {where}",
            f"after {PREFIX} a ticket has only the letters a-z and the digits 2-7; {_COPY_AGAIN}",
        )
    if len(text) < 8:  # five whole bytes, which hold the header
        raise _invalid("the ticket is cut short: little more than its beginning is there", _COPY_AGAIN)
    size = _HEADER_SIZE + int.from_bytes(base32.decode(text[:8])[1:_HEADER_SIZE], "big") + _CHECKSUM_SIZE
    expected = base32.encoded_length(size)
    if len(text) < expected <= MAX_TEXT:
        lengths = f"it has {len(pasted.text)} of {len(PREFIX) + expected} characters"
        raise _invalid(f"the ticket is cut short (or mistyped): {lengths}", _COPY_AGAIN)
    try:
        sealed = base32.decode(text[:expected])
    except base32.Base32Error:
        sealed = b""  # surplus bits in its last character
    content, checksum = sealed[:-_CHECKSUM_SIZE], sealed[-_CHECKSUM_SIZE:]
    if len(sealed) != size or _checksum(content) != checksum:
        raise _invalid("the ticket is mistyped: its checksum does not match", _COPY_AGAIN)
    if len(text) > expected:
        start = pasted.position(len(PREFIX) + expected)
        raise _invalid(
            f"the ticket has {len(text) - expected} characters too many after its end",
            f"leave out everything from position {start} on",
        )
    if sealed[0] != VERSION:
        raise _too_new(f"the ticket has version {sealed[0]}, this irosh reads version {VERSION}")
    return content[_HEADER_SIZE:]


def _checksum(content: bytes) -> bytes:
    import hashlib  # late: its OpenSSL costs milliseconds that commands without a ticket need not pay

    return hashlib.sha256(_CHECKSUM_TAG + content).digest()[:_CHECKSUM_SIZE]


def _decode(body: bytes) -> Ticket:
    """The ticket in a body whose checksum was right, so that what is wrong now was made wrong."""
    relays: list[str] = []
    addresses: list[str] = []
    nostr_relays: list[str] = []
    invite = npub = None
    mode = Mode.IROH_DEFAULT
    last_kind = 0
    try:
        for kind, content in _fields(body[32:]):
            # Both kinds of address count as one: they are mixed in order of preference.
            if (_IPV4 if kind == _IPV6 else kind) < (_IPV4 if last_kind == _IPV6 else last_kind):
                raise ValueError("its fields are not in order")
            last_kind = kind
            if kind == _RELAY:
                relays.append(content.decode("ascii"))
            elif (kind, len(content)) in ((_IPV4, 6), (_IPV6, 18)):
                addresses.append(socket_address(content[:-2], int.from_bytes(content[-2:], "big")))
            elif kind == _INVITE and invite is None:
                invite = content
            elif kind == _NOSTR_KEY and len(content) == 32 and npub is None:
                npub = format_npub(content)
            elif kind == _NOSTR_RELAY:
                nostr_relays.append(content.decode("ascii"))
            elif kind == _MODE:
                mode = _known_mode(content.decode("ascii"))
            elif kind in (_IPV4, _IPV6, _INVITE, _NOSTR_KEY):
                raise ValueError("a field in it has the wrong size or comes twice")
            elif kind < _FIRST_OPTIONAL:
                raise _too_new(f"the ticket holds something (kind {kind}) that this irosh cannot read")
    except ValueError as error:
        raise _invalid(f"the ticket was not made properly: {error}") from None
    return Ticket(body[:32].hex(), tuple(relays), tuple(addresses), invite, mode, npub, tuple(nostr_relays))


def _known_mode(name: str) -> Mode:
    try:
        return Mode(name)
    except ValueError:
        raise _too_new(f"the ticket asks for rendezvous mode {quoted(name)}, which this irosh does not know") from None


def _field(kind: int, content: bytes) -> bytes:
    return bytes([kind, len(content)]) + content


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(data):
        header = data[position : position + 2]
        position += 2
        content = data[position : position + header[-1]]
        if len(header) < 2 or len(content) < header[1]:
            raise ValueError("its last field is incomplete")
        position += len(content)
        yield header[0], content


def _canonical_address(text: str) -> str:
    return format_socket_address(*parse_socket_address(text))


def _valid(values: Iterable[str], check: Callable[[str], str]) -> list[str]:
    """What ``check`` makes of those ``values`` that pass it, each once."""
    kept: dict[str, None] = {}
    for value in values:
        with suppress(ValueError):
            kept[check(value)] = None
    return list(kept)


def _misspelt(error: base32.Base32Error, pasted: Pasted, offset: int) -> IroshError:
    if error.index is None:
        return _invalid(f"the iroh ticket is cut short (or mistyped): {error}", _COPY_AGAIN)
    position = pasted.position(offset + error.index)
    return _invalid(f"the iroh ticket is mistyped: {error} at position {position}", _COPY_AGAIN)


def _invalid(message: str, hint: str = "") -> IroshError:
    return IroshError(ErrorCode.INVALID_TICKET, message, hint)


def _too_new(message: str) -> IroshError:
    return IroshError(ErrorCode.TICKET_VERSION, message, "upgrade irosh: pip install --upgrade irosh")
