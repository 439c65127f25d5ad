"""Second factors: what a host may ask of a peer beyond its identity. Pure.

``password``: something known, kept as an argon2id hash. ``totp``: codes of RFC 6238. ``security-key``: a signature by a
FIDO2 authenticator. A peer for which several are required gives each of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import StrEnum

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ssh_wire import string
from irosh.core.wording import did_you_mean, quoted

NONCE_SIZE = 32
"""Bytes of a challenge."""


class Factor(StrEnum):
    """A kind of second factor, as people and the wire write it."""

    PASSWORD = "password"  # noqa: S105 - the name of the kind
    TOTP = "totp"
    SECURITY_KEY = "security-key"


def parse_factors(texts: Iterable[str]) -> tuple[Factor, ...]:
    """Each kind once, in the order in which they are asked for. ``IroshError`` (usage) for any other word."""
    named = set()
    for text in texts:
        try:
            named.add(Factor(text))
        except ValueError:
            raise IroshError(
                ErrorCode.USAGE,
                f"{quoted(text)} is no second factor",
                did_you_mean(text, map(str, Factor)),
            ) from None
    return tuple(factor for factor in Factor if factor in named)


def binding(nonce: bytes, host_id: str, peer_id: str, factor: Factor) -> bytes:
    """What an answer to a challenge is bound to, 32 bytes: this challenge, between these two identities.

    A security key signs it; an answer of another kind repeats it. So none is of use at another host, for another peer
    or a second time.
    """
    parts = (b"irosh second factor v1", nonce, bytes.fromhex(host_id), bytes.fromhex(peer_id), factor.encode())
    return hashlib.sha256(b"".join(map(string, parts))).digest()
