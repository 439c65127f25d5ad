"""Lists of keys and certificates that are not taken any more, as sshd(8)'s ``RevokedKeys``. Pure: bytes in.

Either a file of public keys, one a line, or a key revocation list of ``ssh-keygen -k`` (OpenSSH's PROTOCOL.krl). What
cannot be read whole is an error: half a list would let in whom the other half refuses.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from irosh.core.ssh_wire import SshReader, SshWireError, string
from irosh.core.wording import quoted

MAX_SIZE = 16 * 1024 * 1024
"""Bytes of a list."""
MAX_BITMAP = 2048
"""Bytes of one bitmap of serial numbers, as OpenSSH takes them."""
_MAGIC = b"SSHKRL\n\x00"
_VERSION = 1
_CERTIFICATES, _KEYS, _SHA1, _SIGNATURE, _SHA256, _EXTENSION = 1, 2, 3, 4, 5, 255
_SERIALS, _RANGE, _BITMAP, _KEY_IDS, _CERTIFICATE_EXTENSION = 0x20, 0x21, 0x22, 0x23, 0x39
_ANY_AUTHORITY = b""
_CERTIFIED = "-cert-v01@openssh.com"
# How many fields a key of each kind has; in a certificate they stand behind a nonce.
_FIELDS = {
    "ssh-ed25519": 1,
    "ssh-rsa": 2,
    "ssh-dss": 4,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}


@dataclass
class _Serials:
    """Serial numbers of one authority's certificates, as ranges that do not touch, and key ids."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    bitmaps: list[tuple[int, int]] = field(default_factory=list)
    """The number that bit 0 stands for, and the bits."""
    key_ids: set[bytes] = field(default_factory=set)

    def settle(self) -> None:
        """Sort the ranges and merge what overlaps."""
        merged: list[tuple[int, int]] = []
        for low, high in sorted(self.ranges):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self.ranges = merged

    def has(self, serial: int, key_id: bytes) -> bool:
        if key_id in self.key_ids:
            return True
        if serial == 0:  # of authorities that give no numbers
            return False
        place = bisect_right(self.ranges, serial, key=lambda each: each[0])
        if place and serial <= self.ranges[place - 1][1]:
            return True
        return any(serial >= first and bits >> (serial - first) & 1 for first, bits in self.bitmaps)


@dataclass
class RevocationList:
    """What is in a list. Keys are in the form of SSH."""

    keys: set[bytes] = field(default_factory=set)
    sha1: set[bytes] = field(default_factory=set)
    sha256: set[bytes] = field(default_factory=set)
    by_authority: dict[bytes, _Serials] = field(default_factory=dict)

    def has_key(self, blob: bytes) -> bool:
        """Whether this key is not taken any more."""
        return (
            blob in self.keys
            or (bool(self.sha1) and hashlib.sha1(blob, usedforsecurity=False).digest() in self.sha1)
            or (bool(self.sha256) and hashlib.sha256(blob).digest() in self.sha256)
        )

    def has_certificate(self, key: bytes, serial: int, key_id: str, authority: bytes) -> bool:
        """Whether a certificate for ``key`` is not taken any more: for itself, its key or its authority."""
        if self.has_key(key) or self.has_key(authority):
            return True
        of_both = (self.by_authority.get(each) for each in (authority, _ANY_AUTHORITY))
        return any(each is not None and each.has(serial, key_id.encode()) for each in of_both)


def parse_revocation_list(content: bytes) -> RevocationList:
    """A list of either form. ``ValueError`` says what is wrong with it."""
    if len(content) > MAX_SIZE:
        raise SshWireError(f"it is larger than {MAX_SIZE} bytes")
    if content.startswith(_MAGIC):
        return _parse_krl(SshReader(content[len(_MAGIC) :]))
    return RevocationList(keys=set(_keys_in_lines(content)))


def _keys_in_lines(content: bytes) -> Iterator[bytes]:
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            yield _plain_key(words[0], base64.b64decode(words[1] if len(words) > 1 else "", validate=True))
        except (SshWireError, binascii.Error):
            raise SshWireError(f"line {number} is no public key: it begins with {quoted(words[0])}") from None


def _plain_key(kind: str, blob: bytes) -> bytes:
    """The key in ``blob``, without its certificate if it has one."""
    reader = SshReader(blob)
    plain = kind.replace(_CERTIFIED, "@openssh.com" if kind.startswith("sk-") else "")
    if reader.string() != kind.encode() or plain not in _FIELDS:
        raise SshWireError("it is of another kind")
    if kind != plain:
        reader.string()  # the nonce
    fields = [reader.string() for _ in range(_FIELDS[plain])]
    if kind == plain:
        reader.finish()
    return string(plain.encode()) + b"".join(map(string, fields))


def _parse_krl(reader: SshReader) -> RevocationList:
    if (version := reader.uint32()) != _VERSION:
        raise SshWireError(f"it has the format version {version}")
    reader.uint64(), reader.uint64(), reader.uint64()  # its number, when it was made, flags
    reader.string(), reader.string()  # reserved, comment
    found = RevocationList()
    while not reader.at_end:
        kind, section = reader.byte(), SshReader(reader.string())
        if kind == _CERTIFICATES:
            _read_certificates(section, found)
        elif kind == _KEYS:
            found.keys.update(_strings(section))
        elif kind == _SHA1:
            found.sha1.update(_digests(section, 20))
        elif kind == _SHA256:
            found.sha256.update(_digests(section, 32))
        elif kind == _EXTENSION:
            _read_extension(section)
        elif kind == _SIGNATURE:
            raise SshWireError("it is signed, which is not looked at: who may write the file is trusted")
        else:
            raise SshWireError(f"it has a section of the unknown type {kind}")
    for serials in found.by_authority.values():
        serials.settle()
    return found


def _read_certificates(reader: SshReader, found: RevocationList) -> None:
    authority = reader.string()
    reader.string()  # reserved
    of_authority = found.by_authority.setdefault(authority, _Serials())
    while not reader.at_end:
        kind, section = reader.byte(), SshReader(reader.string())
        if kind == _SERIALS:
            while not section.at_end:
                of_authority.ranges.append(_range(serial := section.uint64(), serial))
        elif kind == _RANGE:
            of_authority.ranges.append(_range(section.uint64(), section.uint64()))
        elif kind == _BITMAP:
            of_authority.bitmaps.append(_bitmap(section.uint64(), section.string()))
        elif kind == _KEY_IDS:
            of_authority.key_ids.update(_strings(section))
        elif kind == _CERTIFICATE_EXTENSION:
            _read_extension(section)
        else:
            raise SshWireError(f"it has certificates in a section of the unknown type {kind}")
        section.finish()


def _range(low: int, high: int) -> tuple[int, int]:
    if low == 0 or low > high:
        raise SshWireError(f"it has the range of serial numbers {low} to {high}")
    return low, high


def _bitmap(first: int, mpint: bytes) -> tuple[int, int]:
    if len(mpint) > MAX_BITMAP + 1 or mpint[:1] > b"\x7f":
        raise SshWireError("it has a bitmap of serial numbers that is too long or negative")
    bits = int.from_bytes(mpint, "big")
    if first + bits.bit_length() > 1 << 64 or (first == 0 and bits & 1):
        raise SshWireError("it has a bitmap with impossible serial numbers")
    return first, bits


def _read_extension(reader: SshReader) -> None:
    """What is not known is skipped, unless it says that it must not be."""
    name, critical = reader.string(), reader.byte()
    reader.string()
    reader.finish()
    if critical:
        raise SshWireError(f"it needs the extension {quoted(name.decode('utf-8', 'replace'))}, which is unknown here")


def _strings(reader: SshReader) -> Iterator[bytes]:
    while not reader.at_end:
        yield reader.string()


def _digests(reader: SshReader, size: int) -> Iterator[bytes]:
    for digest in _strings(reader):
        if len(digest) != size:
            raise SshWireError(f"it has a digest of {len(digest)} bytes in place of {size}")
        yield digest
