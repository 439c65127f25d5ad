"""Security keys made of software: they sign as OpenSSH's PROTOCOL.u2f says that authenticators do."""

from __future__ import annotations

import hashlib
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from irosh.core.security_key import ECDSA, ED25519, SecurityKey, parse_key_blob
from irosh.core.ssh_wire import string

APPLICATION = b"ssh:"


class SoftKey:
    """One key of an authenticator."""

    def __init__(self, kind: Literal["ed25519", "ecdsa"]) -> None:
        self._ed25519 = ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else None
        self._ecdsa = ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else None
        if self._ed25519 is not None:
            public = self._ed25519.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            blob = string(ED25519.encode()) + string(public)
        else:
            assert self._ecdsa is not None
            public = self._ecdsa.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            blob = string(ECDSA.encode()) + string(b"nistp256") + string(public)
        self.public: SecurityKey = parse_key_blob(blob + string(APPLICATION))

    def sign(self, message: bytes, *, flags: int = 1, counter: int = 1) -> bytes:
        """The signature in the form of SSH, as an authenticator with this counter makes it."""
        said = bytes([flags]) + counter.to_bytes(4, "big")
        signed = hashlib.sha256(APPLICATION).digest() + said + hashlib.sha256(message).digest()
        if self._ed25519 is not None:
            raw = self._ed25519.sign(signed)
        else:
            assert self._ecdsa is not None
            pair = utils.decode_dss_signature(self._ecdsa.sign(signed, ec.ECDSA(SHA256())))
            raw = b"".join(string(number.to_bytes(33, "big")) for number in pair)
        return string(self.public.kind.encode()) + string(raw) + said
