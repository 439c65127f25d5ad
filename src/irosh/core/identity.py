"""The identity: one Ed25519 key that is a node's QUIC endpoint id, SSH host key, SSH user key and mesh id.

On disk it is an unencrypted OpenSSH private key of mode 0600, so ``ssh -i``, ``ssh-keygen`` and an agent can
use the very same file, and a key that ``ssh-keygen -t ed25519`` made can become an identity.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from irosh.core import base32, ed25519_point, ssh_key
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.private_file import SecretFile, create_private_file, read_private_file, write_private_file
from irosh.core.wording import quoted

EndpointId = str
"""An Ed25519 public key as 64 lower-case hexadecimal digits."""

KEY_COMMENT = "irosh"

_KEY_FILE = SecretFile(
    "the identity key",
    linked="put the key file itself there, or name the directory that holds it with --state DIR",
    foreign="choose a state directory of your own with --state DIR",
    damaged="restore it from a backup, or move it away to get a new identity",
)
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Identity:
    """An Ed25519 key pair. Its ``repr`` shows the id alone; equality is that of the public keys.

    Raises:
        ValueError: ``secret`` is not 32 bytes.
    """

    secret: bytes = field(repr=False, compare=False)
    """The 32-byte Ed25519 seed (RFC 8032 section 5.1.5)."""
    public: bytes = field(init=False, repr=False)
    """The 32-byte public key."""
    id: EndpointId = field(init=False, compare=False)
    """The public key as an endpoint id."""

    def __post_init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        public = Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "id", public.hex())

    @classmethod
    def generate(cls) -> Identity:
        """A new identity from the operating system's random numbers."""
        return cls(os.urandom(32))

    @classmethod
    def from_secret(cls, secret: bytes) -> Identity:
        """The identity with this 32-byte seed; ValueError if it has another size."""
        return cls(bytes(secret))

    def openssh_private_key(self) -> bytes:
        """The key as an unencrypted OpenSSH PEM, readable by ssh, ssh-keygen and AsyncSSH. Secret."""
        return ssh_key.encode_private_key(self.secret, self.public, KEY_COMMENT)

    def openssh_public_key(self, comment: str) -> str:
        """``ssh-ed25519 AAAA... comment``, without a newline."""
        return ssh_key.public_key_line(self.public, comment)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``message`` (RFC 8032)."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.secret).sign(message)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` is that of ``message`` by the Ed25519 key ``public``; False for no usable key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not ed25519_point.is_public_key(public):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def parse_endpoint_id(text: str) -> EndpointId:
    """The endpoint id that ``text`` spells: 64 hexadecimal digits or 52 base32 characters, in either case.

    Raises:
        IroshError: ``UNKNOWN_TARGET``, saying what is wrong with it.
    """
    word = text.strip()
    if len(word) == 64:
        bad = next((i for i, character in enumerate(word) if character.lower() not in _HEX), None)
        if bad is not None:
            raise _bad_id(f"has an illegal character {quoted(word[bad])} at position {bad + 1}")
        public = bytes.fromhex(word)
    elif len(word) == base32.encoded_length(32):
        try:
            public = base32.decode(word)
        except base32.Base32Error as error:
            where = "" if error.index is None else f" (position {error.index + 1})"
            raise _bad_id(f"is mistyped: {error}{where}") from None
    else:
        raise _bad_id(f"has {len(word)} characters")
    if not ed25519_point.is_public_key(public):
        raise _bad_id("is mistyped: no Ed25519 public key has this value")
    return public.hex()


def _bad_id(problem: str) -> IroshError:
    return IroshError(
        ErrorCode.UNKNOWN_TARGET,
        f"the endpoint id {problem}",
        "an endpoint id is 64 hexadecimal digits or 52 characters of base32 (a-z, 2-7)",
    )


def short_id(endpoint_id: EndpointId) -> str:
    """The first 10 hexadecimal digits: enough to tell peers apart on a screen, not to trust one."""
    return endpoint_id[:10]


def openssh_public_key_of(endpoint_id: EndpointId) -> str:
    """Any peer's id as an OpenSSH public key line, for ``known_hosts`` and ``authorized_keys``.

    Raises:
        IroshError: ``UNKNOWN_TARGET`` if it is not an endpoint id.
    """
    return ssh_key.public_key_line(bytes.fromhex(parse_endpoint_id(endpoint_id)))


def load_identity(path: Path) -> Identity:
    """The identity in the key file at ``path``.

    Raises:
        IroshError: ``KEY_UNSAFE`` if others may read or replace it: a mode with group or world bits, another
            owner (unless running as root), a symbolic link. ``KEY_INVALID`` if it is missing, is not a usable
            Ed25519 key or is damaged. ``STATE_UNUSABLE`` if it cannot be read.
    """
    try:
        return _load(path)
    except FileNotFoundError:
        raise IroshError(
            ErrorCode.KEY_INVALID,
            f"there is no identity key at {path}",
            "the first `irosh host` or `irosh connect` makes one",
        ) from None


def create_identity(path: Path) -> Identity:
    """Make a new key at ``path`` unless one is there already, and return the one that is there afterwards.

    The file appears complete and with mode 0600, and is never overwritten: of several processes creating at
    once one wins, and all return the winner's key.

    Raises:
        IroshError: ``DISK_FULL`` or ``STATE_UNUSABLE``; what :func:`load_identity` raises if a file is there.
    """
    identity = Identity.generate()
    try:
        create_private_file(path, identity.openssh_private_key())
    except FileExistsError:
        return load_identity(path)
    return identity


def load_or_create_identity(path: Path) -> Identity:
    """The identity at ``path``, made first if there is none. Raises what the two functions above raise."""
    try:
        return _load(path)
    except FileNotFoundError:
        return create_identity(path)


def rotate_identity(path: Path) -> tuple[Identity, Path]:
    """Put a new key at ``path``; returns it with the path of the old one's copy beside it.

    The copy is named ``<name>.old-YYYYMMDDThhmmssZ`` (UTC), with mode 0600. At each instant ``path`` holds
    the old key or the new, and the copy exists before the old one goes. The caller holds the state
    directory's lock.

    Raises:
        IroshError: as :func:`load_identity`, and ``DISK_FULL`` or ``STATE_UNUSABLE``; the old key then stays.
    """
    import time

    old, new = load_identity(path), Identity.generate()
    stem = path.with_name(f"{path.name}.old-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    backup, count = stem, 1
    while True:
        try:
            create_private_file(backup, old.openssh_private_key())
            break
        except FileExistsError:  # a second rotation in one second
            count += 1
            backup = stem.with_name(f"{stem.name}-{count}")
    try:
        write_private_file(path, new.openssh_private_key())
    except IroshError:
        backup.unlink()
        raise
    return new, backup


def _load(path: Path) -> Identity:
    """:func:`load_identity`, but a missing file is FileNotFoundError."""
    content = read_private_file(path, _KEY_FILE)
    try:
        seed, public = ssh_key.decode_private_key(content)
    except ssh_key.EncryptedKeyError as error:
        hint = "irosh starts unattended: remove the passphrase with `ssh-keygen -p -f` on this file"
        raise _invalid(path, str(error), hint) from None
    except ssh_key.SshKeyError as error:
        raise _invalid(path, str(error)) from None
    identity = Identity(seed)
    if identity.public != public:
        raise _invalid(path, "is damaged: its secret and public halves do not belong together")
    return identity


def _invalid(path: Path, problem: str, hint: str = "") -> IroshError:
    return IroshError(ErrorCode.KEY_INVALID, f"{_KEY_FILE.what} {path} {problem}", hint or _KEY_FILE.damaged)
