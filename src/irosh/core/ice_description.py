"""What one side of an ICE session says of itself (RFC 8445, RFC 8839): credentials, candidates, fallback relays. Pure.

It travels inside offers, answers and Nostr messages, which prove who sent it. All that does not look exactly as it has
to is refused or, where it may be a later version's, left out: candidates make this machine send packets to places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

import msgspec

from irosh.core.addresses import parse_ip
from irosh.core.ed25519_point import is_public_key
from irosh.core.endpoint_address import check_relay_url
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import EndpointId

MAX_CANDIDATES = 24
MAX_RELAYS = 4
MAX_ENCODED = 8192  # bytes

_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,64}")
_PWD = re.compile(r"[A-Za-z0-9+/]{22,128}")
# The grammar of RFC 8839 section 5.1, for one component over UDP and addresses only, no names.
_CANDIDATE = re.compile(
    r"[A-Za-z0-9+/]{1,32} 1 udp [0-9]{1,10} (?P<ip>[0-9A-Fa-f.:]{2,45}) (?P<port>[0-9]{1,5}) "
    r"typ (?P<type>host|srflx|relay)( [!-~]{1,40} [!-~]{1,64}){0,4}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class IceDescription:
    """One side of a session. ``candidates`` are SDP lines without ``candidate:``; ``relays`` iroh relay URLs."""

    endpoint_id: EndpointId
    ufrag: str
    pwd: str = field(repr=False)
    candidates: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The description's bytes, which :func:`decode_description` reads. Secret: the password is in them."""
        return _encoder.encode(
            _Fields(bytes.fromhex(self.endpoint_id), self.ufrag, self.pwd, list(self.candidates), list(self.relays))
        )


class _Fields(msgspec.Struct, array_like=True):
    endpoint_id: bytes
    ufrag: str
    pwd: str
    candidates: list[str]
    relays: list[str]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Fields)


def decode_description(data: bytes, *, sender: EndpointId | None = None) -> IceDescription:
    """The description in ``data``, without the candidates and relays that are not usable.

    ``sender`` is who it has to be about. ``IroshError`` (protocol-error) if it is not a description, or of another.
    """
    if len(data) > MAX_ENCODED:
        raise _malformed(f"it has {len(data)} bytes, at most {MAX_ENCODED} are allowed")
    try:
        fields = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _malformed("its form is wrong") from None
    if not is_public_key(fields.endpoint_id):
        raise _malformed("it names no endpoint")
    if sender is not None and fields.endpoint_id.hex() != sender:
        raise IroshError(ErrorCode.IDENTITY_MISMATCH, "the peer's description of itself is about another endpoint")
    if _UFRAG.fullmatch(fields.ufrag) is None or _PWD.fullmatch(fields.pwd) is None:
        raise _malformed("its credentials have the wrong form")
    return IceDescription(
        endpoint_id=fields.endpoint_id.hex(),
        ufrag=fields.ufrag,
        pwd=fields.pwd,
        candidates=usable_candidates(fields.candidates),
        relays=_usable_relays(fields.relays),
    )


def usable_candidates(lines: Iterable[str]) -> tuple[str, ...]:
    """Those of ``lines`` that are candidates which one machine can have, without repetitions; at most 24."""
    return tuple(dict.fromkeys(line for line in lines if _is_candidate(line)))[:MAX_CANDIDATES]


def _is_candidate(line: str) -> bool:
    match = _CANDIDATE.fullmatch(line)
    if match is None or not 0 < int(match["port"]) < 65_536 or int(line.split()[3]) >= 2**32:
        return False
    return is_candidate_address(match["ip"])


def is_candidate_address(text: str) -> bool:
    """Whether ``text`` is an IP address that a candidate may have: one machine's, with a meaning on another."""
    scoped = parse_ip(text)
    if scoped is None or scoped.zone or str(scoped.ip) != str(ip_address(text)):
        return False  # the last: an IPv4 address in IPv6's clothes
    ip = scoped.ip
    return not (ip.is_unspecified or ip.is_multicast or ip.is_link_local or str(ip) == "255.255.255.255")


def _usable_relays(urls: Iterable[str]) -> tuple[str, ...]:
    usable = []
    for url in urls:
        try:
            usable.append(check_relay_url(url))
        except ValueError:
            continue
    return tuple(dict.fromkeys(usable))[:MAX_RELAYS]


def _malformed(problem: str) -> IroshError:
    return IroshError(ErrorCode.PROTOCOL, f"the peer's ICE description cannot be used: {problem}")
