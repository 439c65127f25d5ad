"""The relay handshake: a client proves that it holds the key of the endpoint id it claims.

The relay sends 16 random bytes; the client signs a BLAKE3 key derived from them (the derivation separates
this use of the identity from all others, so no relay can obtain a signature over something of its own
choosing).

Clients on TLS also send the header ``x-iroh-relay-client-auth-v1``, a signature over keying material
exported from the TLS session (RFC 5705), which would save the round trip. Python's ``ssl`` cannot export
keying material, and the protocol tells a relay that cannot verify the header to send a challenge, so the
header is ignored here.
"""

from __future__ import annotations

import os

from blake3 import blake3
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from irosh.core.ed25519_point import is_public_key
from irosh.transport.relay.frames import CHALLENGE_SIZE, ClientAuth

CHALLENGE_CONTEXT = "iroh-relay handshake v1 challenge signature"


def new_challenge() -> bytes:
    """16 unpredictable bytes."""
    return os.urandom(CHALLENGE_SIZE)


def answer(secret: bytes, challenge: bytes) -> ClientAuth:
    """A client's answer: ``secret`` is its 32-byte Ed25519 seed."""
    key = Ed25519PrivateKey.from_private_bytes(secret)
    return ClientAuth(key.public_key().public_bytes_raw(), key.sign(_signed_message(challenge)))


def is_authentic(auth: ClientAuth, challenge: bytes) -> bool:
    """Whether ``auth`` was made for ``challenge`` with the secret key of the id it names.

    Ids that are no canonical, prime-order-related curve point are refused as well: other clients would drop
    their own connection to the relay when a frame came from one.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(auth.public_key)
        key.verify(auth.signature, _signed_message(challenge))
    except (InvalidSignature, ValueError):
        return False
    return is_public_key(auth.public_key)


def _signed_message(challenge: bytes) -> bytes:
    return blake3(challenge, derive_key_context=CHALLENGE_CONTEXT).digest()
