"""The Nostr key: a secp256k1 key pair derived from the identity, or one that its owner keeps in a file.

Nostr's public keys are the x coordinates of BIP-340; as text they are ``npub1…`` (NIP-19).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from irosh.core import bech32
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.private_file import SecretFile, read_private_file

KEY_SIZE = 32
_CONTEXT = "irosh 2026-11 nostr secp256k1 secret key"
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_NSEC_FILE = SecretFile(
    "the Nostr key",
    linked="name the file itself with --nsec-file",
    foreign="name a file of your own with --nsec-file",
    damaged="the file holds one line: nsec1…, or 64 hexadecimal digits",
)


@dataclass(frozen=True)
class NostrKey:
    """A Nostr key pair. Its ``repr`` shows the public key alone.

    Raises:
        ValueError: ``secret`` is no secp256k1 secret.
    """

    secret: bytes = field(repr=False, compare=False)
    """The 32-byte secp256k1 scalar, big-endian."""
    public: bytes = field(init=False, repr=False)
    """The x coordinate of its point (BIP-340), 32 bytes."""
    npub: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not is_secret(self.secret):
            raise ValueError("no secp256k1 secret has this value")
        from cryptography.hazmat.primitives.asymmetric import ec

        private = ec.derive_private_key(int.from_bytes(self.secret, "big"), ec.SECP256K1())
        public = private.public_key().public_numbers().x.to_bytes(KEY_SIZE, "big")
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "npub", format_npub(public))

    @classmethod
    def derive(cls, identity_secret: bytes) -> NostrKey:
        """The key that belongs to an identity, always the same. It tells nothing about the identity's secret."""
        from blake3 import blake3

        for attempt in range(256):  # all but the first are needed once in 2**128
            secret = blake3(identity_secret + bytes((attempt,)), derive_key_context=_CONTEXT).digest()
            if is_secret(secret):
                return cls(secret)
        raise ValueError("no secret can be derived")

    @classmethod
    def load(cls, path: Path) -> NostrKey:
        """The key in a file of one line, ``nsec1…`` or 64 hexadecimal digits.

        Raises:
            IroshError: ``KEY_UNSAFE`` if others may read it; ``KEY_INVALID`` if it is missing or holds no key.
        """
        try:
            content = read_private_file(path, _NSEC_FILE)
        except FileNotFoundError:
            raise IroshError(ErrorCode.KEY_INVALID, f"there is no Nostr key at {path}", _NSEC_FILE.damaged) from None
        # What is wrong is said without a character of what the file holds.
        secret = _secret_in(content.strip())
        if secret is None:
            raise IroshError(ErrorCode.KEY_INVALID, f"{_NSEC_FILE.what} {path} cannot be read", _NSEC_FILE.damaged)
        return cls(secret)


def is_secret(secret: bytes) -> bool:
    """Whether ``secret`` is a scalar of secp256k1: 32 bytes, neither zero nor past the group's order."""
    return len(secret) == KEY_SIZE and 0 < int.from_bytes(secret, "big") < _ORDER


def is_public(public: bytes) -> bool:
    """Whether ``public`` is the x coordinate of a point of secp256k1."""
    from cryptography.hazmat.primitives.asymmetric import ec

    if len(public) != KEY_SIZE:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), b"\x02" + public)
    except ValueError:
        return False
    return True


def format_npub(public: bytes) -> str:
    """``npub1…`` of 32 bytes."""
    return bech32.encode("npub", public)


def parse_npub(text: str) -> bytes:
    """The 32 bytes of ``npub1…``, in either case.

    Raises:
        IroshError: ``UNKNOWN_TARGET``, saying what is wrong with it.
    """
    try:
        public = bech32.decode("npub", text.strip())
    except bech32.Bech32Error as error:
        raise _bad_npub(str(error)) from None
    if not is_public(public):
        raise _bad_npub("is mistyped: no Nostr key has this value")
    return public


def _bad_npub(problem: str) -> IroshError:
    return IroshError(
        ErrorCode.UNKNOWN_TARGET, f"the npub {problem}", "`irosh nostr key` prints it on the other machine"
    )


def _secret_in(content: bytes) -> bytes | None:
    try:
        text = content.decode("ascii")
        secret = bytes.fromhex(text) if len(text) == 2 * KEY_SIZE else bech32.decode("nsec", text)
    except ValueError:  # also UnicodeDecodeError and Bech32Error
        return None
    return secret if is_secret(secret) else None
