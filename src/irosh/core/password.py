"""Passwords as argon2id hashes (RFC 9106), with the parameters that OWASP's Password Storage Cheat Sheet recommends."""

from __future__ import annotations

import re
import secrets
import unicodedata

from irosh.core.errors import ErrorCode, IroshError

MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
SALT_SIZE = 16
TAG_SIZE = 32
SHORTEST = 8
"""Characters. What is shorter is guessed within the attempts that a lockout leaves, given enough peers."""
LONGEST = 1024
"""Bytes: a longer one would only be work for the host."""

# What is taken from elsewhere must not make one check cost gigabytes.
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,6}),t=(\d{1,2}),p=(\d)\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}", re.ASCII
)


def hash_password(password: str) -> str:
    """The hash of a new password, as a PHC string. ``IroshError`` (usage) for one that is too short or too long."""
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    text = _normal(password)
    if len(text) < SHORTEST or len(text.encode()) > LONGEST:
        raise IroshError(ErrorCode.USAGE, f"a password has from {SHORTEST} characters to {LONGEST} bytes")
    hasher = Argon2id(
        salt=secrets.token_bytes(SALT_SIZE), length=TAG_SIZE, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB
    )
    return hasher.derive_phc_encoded(text.encode())


def is_password_hash(text: str) -> bool:
    """Whether ``text`` is the hash of a password, and one that costs no more than a few times what ours do."""
    return _HASH.fullmatch(text) is not None


def matches(password: str, phc: str) -> bool:
    """Whether the password is the one that was hashed. Takes 20 MiB and tens of milliseconds: call it on a thread."""
    from cryptography.exceptions import InvalidKey
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    given = _normal(password).encode()
    if not is_password_hash(phc) or len(given) > LONGEST:
        return False
    try:
        Argon2id.verify_phc_encoded(given, phc)  # compares in constant time
    except InvalidKey:
        return False
    return True


def _normal(password: str) -> str:
    """The same password typed on another system is the same text (RFC 8265, OpaqueString)."""
    return unicodedata.normalize("NFC", password)
