"""Where a node can be reached: UDP addresses (``ip:port``) and relay URLs, checked and in canonical text.

They arrive from strangers in tickets, so everything unusual is refused rather than passed on to a dialler.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from irosh.core.addresses import IPAddress, parse_ip
from irosh.core.wording import quoted

MAX_RELAY_URL = 255  # characters

_SOCKET_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f.]*:[0-9A-Fa-f.:]*)\]|([0-9.]+)):([0-9]{1,5})")
_RELAY_URL = re.compile(r"https?://[!-~]+", re.IGNORECASE)


def parse_socket_address(text: str) -> tuple[IPAddress, int]:
    """The IP address and port in ``1.2.3.4:443`` or ``[2001:db8::1]:443``; IPv4-mapped IPv6 becomes IPv4.

    Raises:
        ValueError: saying what is wrong: not of this form, port 0, or not an address that one machine can
            have. A zone (``%eth0``) is refused as well, for it means nothing on another machine.
    """
    match = _SOCKET_ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{quoted(text)} is not of the form ip:port or [ip6]:port")
    address = parse_ip(match[1] or match[2])
    if address is None:
        raise ValueError(f"{quoted(text)} does not hold a valid IP address")
    return _usable(address.ip), _port(int(match[3]))


def socket_address(packed: bytes, port: int) -> str:
    """The canonical text of a packed address (4 or 16 bytes) and port; ValueError as above."""
    return format_socket_address(_usable(ip_address(packed)), _port(port))


def format_socket_address(address: IPAddress, port: int) -> str:
    """``ip:port``, or ``[ip6]:port``."""
    return f"{address}:{port}" if address.version == 4 else f"[{address}]:{port}"


def check_relay_url(text: str) -> str:
    """``text`` itself if it is an ``http`` or ``https`` URL of at most 255 printable ASCII characters.

    Raises:
        ValueError: saying what is wrong. A user name or password in it is refused: tickets are shown around.
    """
    from urllib.parse import urlsplit

    if len(text) > MAX_RELAY_URL:
        raise ValueError(f"a relay URL has {len(text)} characters, at most {MAX_RELAY_URL} are allowed")
    if _RELAY_URL.fullmatch(text) is None:
        raise ValueError(f"{quoted(text)} is not an http:// or https:// URL")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{quoted(text)} is not a valid URL: {error}") from None
    if not host or port == 0:
        raise ValueError(f"{quoted(text)} is not a valid URL: it has no {'port' if host else 'host'}")
    if "@" in parts.netloc:
        raise ValueError("a relay URL must not hold a user name or password")
    return text


def _usable(address: IPAddress) -> IPAddress:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_unspecified or address.is_multicast or address == IPv4Address("255.255.255.255"):
        raise ValueError(f"{address} is not the address of a machine")
    return address


def _port(number: int) -> int:
    if not 0 < number < 65536:
        raise ValueError(f"{number} is not a port number")
    return number
