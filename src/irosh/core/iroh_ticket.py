"""Reads the body of a plain iroh ``EndpointTicket``, the ticket that iroh's own programs print.

The text is ``endpoint`` and base32; the bytes are postcard (https://postcard.jamesmunns.com/wire-format): a
varint 0 for the layout (``TicketWireFormat::Variant1`` of the iroh-tickets crate, 1.0), the 32-byte endpoint
id, a varint count, and that many of iroh-base's ``TransportAddr``: a varint kind, then

====  ===========================================================================
kind  content
====  ===========================================================================
0     relay URL: varint length, UTF-8
1     IP: a varint, 0 for 4 or 1 for 6, the 4 or 16 bytes, the port as a varint
2     custom transport: a varint id, varint length, bytes
====  ===========================================================================

There is no checksum. Kinds appear in ascending order, because iroh writes a sorted set.
"""

from __future__ import annotations

from contextlib import suppress

from irosh.core.endpoint_address import check_relay_url, socket_address

_MAX_VARINT_BYTES = 10  # of a u64


def decode_endpoint_ticket(body: bytes) -> tuple[bytes, list[str], list[str]]:
    """``(endpoint id, relay URLs, socket addresses)`` of a ticket's bytes, in the ticket's order.

    Addresses of other kinds, and those that no machine here could dial (another URL scheme, port 0), are left
    out. As a kind unknown today has an unknown length, nothing after the first of those is read; nothing
    known can be there, given the ascending order.

    Raises:
        ValueError: saying what is wrong: cut short, an unknown layout, bytes after the end.
    """
    reader = _PostcardReader(body)
    layout = reader.varint()
    if layout != 0:
        raise ValueError(f"has the unknown layout {layout}")
    endpoint_id = reader.take(32)
    relays: list[str] = []
    addresses: list[str] = []
    for _ in range(reader.varint()):
        kind = reader.varint()
        if kind == 0:
            url = reader.take(reader.varint())
            if b"://" not in url:
                raise ValueError("is mistyped: it holds something else where a relay URL should be")
            with suppress(ValueError):
                relays.append(check_relay_url(url.decode("ascii", "replace")))
        elif kind == 1:
            version = reader.varint()
            if version > 1:
                raise ValueError("is mistyped: it holds something else where an IP address should be")
            packed, port = reader.take(16 if version else 4), reader.varint()
            with suppress(ValueError):
                addresses.append(socket_address(packed, port))
        elif kind == 2:
            reader.varint()
            reader.take(reader.varint())
        else:
            return endpoint_id, relays, addresses
    if reader.remaining:
        raise ValueError(f"has {reader.remaining} bytes too many at its end")
    return endpoint_id, relays, addresses


class _PostcardReader:
    """Reads postcard's primitive types off the front of ``data``."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def remaining(self) -> int:
        return len(self._data) - self._position

    def take(self, size: int) -> bytes:
        if size > self.remaining:
            raise ValueError("is cut short")
        self._position += size
        return self._data[self._position - size : self._position]

    def varint(self) -> int:
        """An unsigned LEB128 number of at most 64 bits."""
        number = 0
        for index in range(_MAX_VARINT_BYTES):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return number
        raise ValueError("is mistyped: it holds an overlong number")
