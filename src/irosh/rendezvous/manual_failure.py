"""Why two nodes of mode ``iroh-manual`` do not meet, as far as their addresses tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import short_id
from irosh.core.socket_spec import split_host_port
from irosh.rendezvous.separate_networks import are_separate

_HOPELESS = "both sides are behind symmetric NATs, between which no direct way is possible"
_ELSEWHERE = (
    "custom, nostr and iroh-default have relays to fall back to; `irosh netcheck` on both sides tells what their "
    "networks allow"
)


def is_symmetric(addresses: Iterable[str]) -> bool:
    """Whether one socket was seen at several ports of one host: a NAT that maps by destination (RFC 4787, 4.1)."""
    ports: dict[str, set[str]] = {}
    for text in addresses:
        host, port = split_host_port(text)
        ports.setdefault(host, set()).add(port)
    return any(len(found) > 1 for found in ports.values())


def is_hopeless(own: Iterable[str], theirs: Iterable[str]) -> bool:
    """Whether no direct way can be (RFC 5128, 3.3): symmetric NATs on both sides of separate networks."""
    own, theirs = tuple(own), tuple(theirs)
    return is_symmetric(own) and is_symmetric(theirs) and are_separate(_hosts(own), _hosts(theirs))


def _hosts(addresses: Iterable[str]) -> list[str]:
    return [split_host_port(text)[0].strip("[]") for text in addresses]


def hopeless(host_id: str) -> IroshError:
    """Said before anybody carries an answer in vain."""
    return IroshError(ErrorCode.NO_PATH, f"no way to {short_id(host_id)}… in mode iroh-manual: {_HOPELESS}", _ELSEWHERE)


def no_path(peer_id: str, own: Iterable[str], theirs: Iterable[str], seconds: float) -> IroshError:
    """Said to who pasted an answer of which nothing came."""
    theirs = tuple(theirs)
    why = _HOPELESS if is_hopeless(own, theirs) else f"tried {', '.join(theirs[:4]) or 'no address'}"
    hint = f"does it still wait there? Else {_ELSEWHERE}"
    return IroshError(
        ErrorCode.NO_PATH, f"no connection with {short_id(peer_id)}… came about in {seconds:.0f} s: {why}", hint
    )
