"""OpenSSH's file formats for Ed25519 keys: the private key PEM and the one-line public key.

The private format is OpenSSH's PROTOCOL.key, unencrypted; the public blob is that of RFC 8709 section 4.
Written out here because reading a key at start-up must not cost the import of a whole SSH or cryptography
package. Pure: bytes in, bytes out; whether seed and public key belong together is for the caller to check.
"""

from __future__ import annotations

import base64
import binascii

from irosh.core.ssh_wire import SshReader, SshWireError, string

KEY_TYPE = b"ssh-ed25519"

_MAGIC = b"openssh-key-v1\0"
_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_END = b"-----END OPENSSH PRIVATE KEY-----"
_CIPHER_BLOCK = 8  # "none" pads as if its block size were 8
_LINE = 70  # characters of base64 per line, as ssh-keygen writes them


class SshKeyError(ValueError):
    """A private key file that cannot be used; the text completes the sentence "PATH ..."."""


class EncryptedKeyError(SshKeyError):
    """The private key needs a passphrase."""


def public_key_blob(public: bytes) -> bytes:
    """The RFC 8709 wire form of a 32-byte Ed25519 public key."""
    return string(KEY_TYPE) + string(public)


def public_key_line(public: bytes, comment: str = "") -> str:
    """``ssh-ed25519 AAAA... comment``, as in ``authorized_keys`` and ``*.pub``, without a newline.

    White space in the comment is collapsed and unprintable characters are dropped, so that a comment can
    never become a line of its own.
    """
    line = f"{KEY_TYPE.decode()} {base64.b64encode(public_key_blob(public)).decode()}"
    clean = "".join(character for character in " ".join(comment.split()) if character.isprintable())
    return f"{line} {clean}" if clean else line


def encode_private_key(seed: bytes, public: bytes, comment: str = "") -> bytes:
    """The unencrypted OpenSSH PEM of the key pair with this 32-byte seed and 32-byte public key.

    The result depends on nothing but the arguments: the two check integers, which OpenSSH draws at random to
    notice a wrong passphrase, have no purpose in an unencrypted key.
    """
    check = public[:4] * 2
    private = check + public_key_blob(public) + string(seed + public) + string(comment.encode())
    private += bytes(range(1, 1 + -len(private) % _CIPHER_BLOCK))
    blob = _MAGIC + string(b"none") + string(b"none") + string(b"") + (1).to_bytes(4, "big")
    blob += string(public_key_blob(public)) + string(private)
    text = base64.b64encode(blob)
    lines = [text[start : start + _LINE] for start in range(0, len(text), _LINE)]
    return b"\n".join([_BEGIN, *lines, _END, b""])


def decode_private_key(pem: bytes) -> tuple[bytes, bytes]:
    """The ``(seed, public)`` of an unencrypted OpenSSH Ed25519 private key.

    Raises:
        SshKeyError: it is something else, protected by a passphrase, or damaged.
    """
    text = pem.strip()
    if not text.startswith(_BEGIN):
        raise SshKeyError("is not an OpenSSH private key file")
    if not text.endswith(_END):
        raise SshKeyError("is cut short: the last line of the key is missing")
    try:
        body = b"".join(text[len(_BEGIN) : -len(_END)].split())
        blob = base64.b64decode(body, validate=True)
    except binascii.Error:
        raise SshKeyError("is damaged: the key is not base64") from None
    return _decode_blob(blob)


def _decode_blob(blob: bytes) -> tuple[bytes, bytes]:
    if not blob.startswith(_MAGIC):
        raise SshKeyError("is damaged: the key has no openssh-key-v1 header")
    try:
        return _decode_parts(SshReader(blob[len(_MAGIC) :]))
    except SshWireError as error:
        raise SshKeyError(f"is damaged: {error}") from None


def _decode_parts(outer: SshReader) -> tuple[bytes, bytes]:
    cipher = outer.string()
    outer.string()  # key derivation function
    outer.string()  # and its options
    if cipher != b"none":
        raise EncryptedKeyError("is protected by a passphrase")
    if outer.uint32() != 1:
        raise SshKeyError("does not hold exactly one key")
    announced = outer.string()
    inner = SshReader(outer.string())
    outer.finish()
    if inner.uint32() != inner.uint32():
        raise SshKeyError("is damaged: its check numbers differ")
    key_type = inner.string()
    if key_type != KEY_TYPE:
        raise SshKeyError(f"holds a key of type {key_type[:40].decode('ascii', 'replace')!a}, not ssh-ed25519")
    public, pair = inner.string(), inner.string()
    inner.string()  # comment
    padding = inner.rest()
    consistent = announced == public_key_blob(public) and pair[32:] == public
    if len(public) != 32 or len(pair) != 64 or not consistent or padding != bytes(range(1, 1 + len(padding))):
        raise SshKeyError("is damaged: its parts contradict each other")
    return pair[:32], public
