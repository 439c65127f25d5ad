"""What an offer or answer of mode ``iroh-manual`` carries: the addresses to dial. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from irosh.core.armor import invalid_block
from irosh.core.endpoint_address import format_socket_address, parse_socket_address

MAX_ADDRESSES = 24
"""Each is dialled; so many does no machine need."""


class _Fields(msgspec.Struct, array_like=True):
    addresses: list[str]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Fields)


def encode_addresses(addresses: Sequence[str]) -> bytes:
    """The body of a block with the first 24 of ``addresses`` (``ip:port``)."""
    return _encoder.encode(_Fields(list(addresses[:MAX_ADDRESSES])))


def decode_addresses(body: bytes) -> tuple[str, ...]:
    """The addresses in a block's body, in canonical text. ``IroshError`` (invalid-block)."""
    try:
        found = _decoder.decode(body).addresses
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise invalid_block("the block's addresses cannot be read") from None
    if len(found) > MAX_ADDRESSES:
        raise invalid_block(f"the block holds {len(found)} addresses, at most {MAX_ADDRESSES} are allowed")
    try:
        return tuple(dict.fromkeys(format_socket_address(*parse_socket_address(text)) for text in found))
    except ValueError as error:
        raise invalid_block(f"the block holds a bad address: {error}") from None
