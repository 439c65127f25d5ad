"""Time-based one-time passwords (RFC 6238) with what every authenticator app has: SHA-1, six digits, 30 seconds. Pure.

SHA-1's weaknesses are about collisions; HMAC does not rest on their absence (RFC 6238 itself, section 1.2).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from urllib.parse import quote, urlencode

PERIOD = 30
"""Seconds of a step."""
DIGITS = 6
WINDOW = 1
"""Steps by which the clocks may differ, either way."""
SECRET_SIZE = 20
"""Bytes, as RFC 4226 recommends."""


def new_secret() -> str:
    """A new secret, in base32 as people and apps write it."""
    return base64.b32encode(secrets.token_bytes(SECRET_SIZE)).decode()


def decode_secret(text: str) -> bytes:
    """The bytes of a secret in base32; ``ValueError`` when it is none, or has less than 128 bits."""
    compact = "".join(text.split()).replace("-", "").rstrip("=").upper()
    try:
        secret = base64.b32decode(compact + "=" * (-len(compact) % 8))
    except ValueError as error:
        raise ValueError(f"not base32: {error}") from None
    if not 16 <= len(secret) <= 128:
        raise ValueError(f"a secret of {len(secret)} bytes")
    return secret


def step_at(now: float) -> int:
    """The number of the step at ``now``, Unix seconds."""
    return int(now // PERIOD)


def code_for(secret: bytes, step: int) -> str:
    """The code of a step (RFC 4226, section 5.3)."""
    digest = hmac.new(secret, step.to_bytes(8, "big"), hashlib.sha1).digest()
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def matching_step(secret: bytes, code: str, now: float, *, after: int) -> int | None:
    """The step whose code ``code`` is, near ``now`` and later than ``after``, the last one that was used; else None.

    All steps are compared, whichever matches, so that the time taken says nothing.
    """
    given = "".join(code.split()).encode("utf-8", "surrogateescape")
    found: int | None = None
    current = step_at(now)
    for step in range(max(0, current - WINDOW), current + WINDOW + 1):
        same = hmac.compare_digest(code_for(secret, step).encode(), given)
        if same and step > after:
            found = step
    return found


def provisioning_uri(secret: str, *, account: str, issuer: str) -> str:
    """The ``otpauth://`` URI that authenticator apps read from a QR code (Google's Key URI Format)."""
    label = f"{quote(issuer, safe='')}:{quote(account, safe='')}"
    query = urlencode(
        {"secret": secret, "issuer": issuer, "algorithm": "SHA1", "digits": DIGITS, "period": PERIOD},
        quote_via=quote,
    )
    return f"otpauth://totp/{label}?{query}"
