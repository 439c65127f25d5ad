"""Signatures of FIDO2 security keys as OpenSSH makes them (its PROTOCOL.u2f and PROTOCOL.sshsig). Pure.

The authenticator signs SHA-256(application), one byte of flags, a 32-bit counter and SHA-256(message).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ssh_wire import SshReader, SshWireError, string

ED25519 = "sk-ssh-ed25519@openssh.com"
ECDSA = "sk-ecdsa-sha2-nistp256@openssh.com"
TOUCHED, VERIFIED = 0x01, 0x04
"""Flags: a person was there; a person was verified, by PIN or biometry."""
NAMESPACE = "second-factor@irosh"
"""Of signatures by ``ssh-keygen -Y sign``: what is signed for irosh is of no use for anything else."""
MAX_SIGNATURE = 4096

_MAGIC = b"SSHSIG"
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"


@dataclass(frozen=True, slots=True)
class SecurityKey:
    """The public half of a key on an authenticator."""

    kind: str
    public: bytes
    """32 bytes of Ed25519, or a point of P-256."""
    application: str
    blob: bytes
    """The whole key in the form of SSH."""

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` shows it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def line(self) -> str:
        """As in a ``.pub`` file, without comment."""
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a valid signature says besides: the authenticator's ``flags`` and ``counter``."""

    flags: int
    counter: int


def parse_security_key(line: str) -> SecurityKey:
    """A line of a ``.pub`` file. ``IroshError`` (usage) when it is no security key's."""
    words = line.split()
    try:
        if len(words) < 2 or words[0] not in (ED25519, ECDSA):
            raise SshWireError("not a security key")
        return parse_key_blob(base64.b64decode(words[1], validate=True))
    except (ValueError, UnicodeDecodeError):
        raise IroshError(
            ErrorCode.USAGE,
            "that is not the public key of a security key",
            f"ssh-keygen -t ed25519-sk makes one; its .pub file begins with {ED25519}",
        ) from None


def parse_key_blob(blob: bytes) -> SecurityKey:
    """A key in the form of SSH. ``ValueError`` when it is no security key's."""
    reader = SshReader(blob)
    kind = reader.string().decode()
    if kind == ECDSA:
        if reader.string() != b"nistp256":
            raise SshWireError("another curve")
    elif kind != ED25519:
        raise SshWireError("not a security key")
    public, application = reader.string(), reader.string().decode()
    reader.finish()
    if len(public) != (32 if kind == ED25519 else 65):
        raise SshWireError("a public key of another length")
    return SecurityKey(kind, public, application, blob)


def verify(key: SecurityKey, message: bytes, signature: bytes) -> Assertion | None:
    """What the authenticator says with ``signature``, in the form of SSH, if it is one of ``message``; else None."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        reader = SshReader(signature)
        if reader.string().decode() != key.kind:
            return None
        raw, flags, counter = reader.string(), reader.byte(), reader.uint32()
        reader.finish()
        application = hashlib.sha256(key.application.encode()).digest()
        signed = application + bytes([flags]) + counter.to_bytes(4, "big") + hashlib.sha256(message).digest()
        if key.kind == ED25519:
            ed25519.Ed25519PublicKey.from_public_bytes(key.public).verify(raw, signed)
        else:
            pair = SshReader(raw)
            r, s = int.from_bytes(pair.string(), "big"), int.from_bytes(pair.string(), "big")
            pair.finish()
            curve_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public)
            curve_key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))
    except (ValueError, UnicodeDecodeError, InvalidSignature):
        return None
    return Assertion(flags, counter)


def sshsig_message(message: bytes) -> bytes:
    """What is signed when ``ssh-keygen -Y sign -n`` :data:`NAMESPACE` signs ``message``."""
    parts = (NAMESPACE.encode(), b"", b"sha512", hashlib.sha512(message).digest())
    return _MAGIC + b"".join(map(string, parts))


def parse_sshsig(armored: bytes) -> tuple[bytes, bytes]:
    """Key and signature, in the form of SSH, of what ``ssh-keygen -Y sign`` printed. ``ValueError`` otherwise."""
    text = armored.strip()
    if len(text) > 4 * MAX_SIGNATURE or not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise SshWireError("not an SSH signature")
    blob = base64.b64decode(b"".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
    if not blob.startswith(_MAGIC):
        raise SshWireError("not an SSH signature")
    reader = SshReader(blob[len(_MAGIC) :])
    if reader.uint32() != 1:
        raise SshWireError("an SSH signature of another version")
    public, namespace, _reserved, hash_name, signature = (reader.string() for _ in range(5))
    reader.finish()
    if namespace != NAMESPACE.encode() or hash_name != b"sha512":
        raise SshWireError("a signature for something else")
    return public, signature


def security_keys_in(text: str) -> Iterator[SecurityKey]:
    """The keys of a ``.pub`` file or of what ``ssh-add -L`` prints. ``IroshError`` (usage) for any other line."""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield parse_security_key(line)
