"""Packets of the SSH File Transfer Protocol, version 3 (draft-ietf-secsh-filexfer-02, as OpenSSH speaks it). Pure.

A packet is a 32-bit length, a type and, but for the first of each side, a request number.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from irosh.core.ssh_wire import SshReader, SshWireError

VERSION = 3
MAX_PACKET = 256 * 1024
"""Bytes behind the length. As OpenSSH; a client that asks for ``limits@openssh.com`` is told."""
MAX_DATA = MAX_PACKET - 1024
"""Bytes of a file in one packet."""


class Packet(IntEnum):
    """Types of packets."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    READLINK = 19
    SYMLINK = 20
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200
    EXTENDED_REPLY = 201


class Status(IntEnum):
    """How a request ended."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    OP_UNSUPPORTED = 8


class OpenFlag(IntEnum):
    """What a file is opened for."""

    READ = 1
    WRITE = 2
    APPEND = 4
    CREATE = 8
    TRUNCATE = 16
    EXCLUSIVE = 32


_SIZE, _OWNER, _PERMISSIONS, _TIMES, _EXTENDED = 1, 2, 4, 8, 1 << 31
_ALL = _SIZE | _OWNER | _PERMISSIONS | _TIMES
_LATEST = 0xFFFF_FFFF  # seconds: the protocol's times end in 2106


class BadPacket(SshWireError):
    """A packet that is not what its type says."""


class Attributes(NamedTuple):
    """Attributes that a client sets. ``times``: of the last access and change, in seconds."""

    size: int | None = None
    owner: tuple[int, int] | None = None
    permissions: int | None = None
    times: tuple[int, int] | None = None


class Reader(SshReader):
    """The fields of one packet, in order. :class:`BadPacket` when they are not there."""

    def attributes(self) -> Attributes:
        flags = self.uint32()
        if flags & ~(_ALL | _EXTENDED):
            raise BadPacket("unknown attributes")
        size = self.uint64() if flags & _SIZE else None
        owner = (self.uint32(), self.uint32()) if flags & _OWNER else None
        permissions = self.uint32() if flags & _PERMISSIONS else None
        times = (self.uint32(), self.uint32()) if flags & _TIMES else None
        if flags & _EXTENDED:
            for _ in range(self.uint32()):  # each takes bytes of the packet, which ends
                self.string()
                self.string()
        return Attributes(size, owner, permissions, times)

    def take(self, size: int) -> bytes:
        taken = self._data[self._position : self._position + size]
        if len(taken) != size:
            raise BadPacket("less than the request")
        self._position += size
        return taken


def packet(kind: Packet, *fields: bytes) -> bytes:
    """A whole packet."""
    body = b"".join(fields)
    return struct.pack(">IB", 1 + len(body), kind) + body


def uint32(value: int) -> bytes:
    return struct.pack(">I", value)


def uint64(value: int) -> bytes:
    return struct.pack(">Q", value & 0xFFFF_FFFF_FFFF_FFFF)


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def attributes(found: os.stat_result) -> bytes:
    """What the system tells of a file."""
    return struct.pack(
        ">IQIIIII",
        _ALL,
        found.st_size,
        found.st_uid,
        found.st_gid,
        found.st_mode,
        min(max(int(found.st_atime), 0), _LATEST),
        min(max(int(found.st_mtime), 0), _LATEST),
    )


def names(entries: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """Names with how ``ls -l`` would show each, and with their :func:`attributes`."""
    listed = [string(name) + string(shown) + attrs for name, shown, attrs in entries]
    return uint32(len(listed)) + b"".join(listed)


NO_ATTRIBUTES = uint32(0)


def space(found: os.statvfs_result) -> bytes:
    """The reply to ``statvfs@openssh.com``."""
    numbers = (
        found.f_bsize,
        found.f_frsize,
        found.f_blocks,
        found.f_bfree,
        found.f_bavail,
        found.f_files,
        found.f_ffree,
        found.f_favail,
        found.f_fsid,
        found.f_flag & (os.ST_RDONLY | os.ST_NOSUID),
        found.f_namemax,
    )
    return b"".join(map(uint64, numbers))


def open_flags(asked: int) -> int:
    """Flags of open(2). :class:`BadPacket` for those of later versions."""
    if asked & ~0x3F:
        raise BadPacket("unknown flags")
    flags = os.O_RDONLY
    if asked & OpenFlag.WRITE:
        flags = os.O_RDWR if asked & OpenFlag.READ else os.O_WRONLY
    for flag, system in (
        (OpenFlag.APPEND, os.O_APPEND),
        (OpenFlag.CREATE, os.O_CREAT),
        (OpenFlag.TRUNCATE, os.O_TRUNC),
        (OpenFlag.EXCLUSIVE, os.O_EXCL),
    ):
        if asked & flag:
            flags |= system
    return flags
