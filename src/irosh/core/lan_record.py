"""What a host announces on its LAN, as the TXT record of a DNS-SD service (RFC 6763): where its endpoint is. Pure.

Whoever is on the LAN may announce anything, so this only says where to look: who is there, the handshake proves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from irosh.core import base32
from irosh.core.endpoint_address import format_socket_address, parse_socket_address

SERVICE = "_irosh._udp.local."
MAX_ADDRESSES = 8
_LONGEST = 64  # characters of one address; the longest there is has 47
_KEYS = tuple(f"a{number}" for number in range(MAX_ADDRESSES))


def instance_name(endpoint_id: str) -> str:
    """The service instance of an endpoint: 52 characters for its id, of the 63 that a label may have."""
    return f"{base32.encode(bytes.fromhex(endpoint_id))}.{SERVICE}"


def host_name(endpoint_id: str) -> str:
    """The name of the machine in the SRV record; short, as it need not be unique beyond the LAN."""
    return f"irosh-{base32.encode(bytes.fromhex(endpoint_id))[:16]}.local."


def encode_record(addresses: Sequence[str]) -> dict[str, str]:
    """The TXT record's keys and values for the first 8 ``addresses`` (``ip:port``)."""
    return {"v": "1", **dict(zip(_KEYS, addresses, strict=False))}


def decode_record(properties: Mapping[bytes, bytes | None]) -> tuple[str, ...]:
    """The addresses in a TXT record, in canonical text, at most 8. What makes no sense is left out."""
    found: dict[str, None] = {}
    for key in _KEYS:
        value = properties.get(key.encode())
        if value is None or len(value) > _LONGEST:
            continue
        try:
            found[format_socket_address(*parse_socket_address(value.decode("ascii")))] = None
        except ValueError:  # UnicodeDecodeError is one
            continue
    return tuple(found)
