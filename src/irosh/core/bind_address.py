"""The UDP addresses a node binds, from what its owner said: one of each IP family, neither more open than asked."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from irosh.core.addresses import parse_ip
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wording import quoted

ANY_ADDRESS = "0.0.0.0:0"
"""Every interface, a free port, both families: what a node binds when nothing is said."""

_FORM = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>\d{1,5})")


def bind_addresses(text: str) -> tuple[str, ...]:
    """What to bind for ``text``, an ``ADDR:PORT``; empty for :data:`ANY_ADDRESS`, the engine's own default.

    All interfaces of one family means those of the other too, on the same port. One address means that one only: the
    other family gets loopback, as the engine would otherwise bind all its interfaces.

    Raises ``IroshError`` (invalid-address).
    """
    match = _FORM.fullmatch(text.strip())
    address = parse_ip(match["v6"] or match["v4"]) if match else None
    if match is None or address is None or int(match["port"]) > 65_535:
        raise IroshError(
            ErrorCode.INVALID_ADDRESS,
            f"{quoted(text)} is not an address to bind",
            "ADDR:PORT, such as 0.0.0.0:4242, 192.168.1.5:0 or [::]:4242",
        )
    if text.strip() == ANY_ADDRESS:
        return ()
    ip, port = address.ip, int(match["port"])
    other = ("[::]", port) if ip.is_unspecified else ("[::1]", 0)
    if isinstance(ip, IPv4Address):
        return (f"{ip}:{port}", f"{other[0]}:{other[1]}")
    other = ("0.0.0.0", port) if ip.is_unspecified else ("127.0.0.1", 0)  # noqa: S104 - asked for
    return (f"[{address}]:{port}", f"{other[0]}:{other[1]}")
