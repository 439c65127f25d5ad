"""A file on its way: under a hidden name beside the final one, which it takes when it is complete. Found again later.

The hidden name tells the final name, and the size and time of what is being copied; so an interrupted file is found
by whoever copies the same again, and another version of it is never gone on with.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from blake3 import blake3

from irosh.services.files.transfer.access import FolderHandle

PREFIX = b".irosh-part."
_WHOLE = PREFIX + b"whole."
_LONGEST_NAME = 255
_KEY = struct.Struct(">Qq")
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_OUT_EVERY = 8 * 1024 * 1024
_SYNC_FILE_RANGE_WRITE = 2
_LOOK_AGAIN = 0.05


def partial_name(name: bytes, size: int, mtime: int) -> bytes:
    """The hidden name of ``name`` while this version of it arrives."""
    return tag(name) + blake3(_KEY.pack(size, mtime)).hexdigest(8).encode()


def whole_name(name: bytes) -> bytes:
    """The hidden name of a small ``name``, found without hashing anything: there are many of them."""
    hidden = _WHOLE + name
    return hidden if len(hidden) <= _LONGEST_NAME else tag(name) + b"whole"


def left_of(name: bytes, hidden: Iterable[bytes]) -> list[bytes]:
    """Those of the ``hidden`` names that are for ``name``."""
    begin, whole = tag(name), whole_name(name)
    return [each for each in hidden if each.startswith(begin) or each == whole]


def tag(name: bytes) -> bytes:
    """What the hidden names of ``name`` begin with, for all versions of it."""
    return PREFIX + blake3(name).hexdigest(8).encode() + b"."


@dataclass(slots=True)
class Partial:
    """An open partial file that this process alone writes to. ``found``: bytes of it that were there."""

    folder: FolderHandle
    name: bytes
    hidden: bytes
    descriptor: int
    found: int = 0

    def place(self) -> None:
        """Give it its final name, in place of whatever file is there. ``OSError``."""
        folder = self.folder.descriptor
        os.rename(self.hidden, self.name, src_dir_fd=folder, dst_dir_fd=folder)

    def close(self) -> None:
        """Keep what there is, for another time."""
        os.close(self.descriptor)

    def leave(self) -> None:
        """Keep what there is, if there is anything."""
        if os.fstat(self.descriptor).st_size:
            self.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Remove it."""
        os.close(self.descriptor)
        with contextlib.suppress(OSError):
            os.unlink(self.hidden, dir_fd=self.folder.descriptor)


def open_partial(folder: FolderHandle, name: bytes, size: int, mtime: int) -> Partial:
    """The partial file for this version of ``name``: new, or what an earlier transfer has left. ``OSError``."""
    return _open(folder, name, partial_name(name, size, mtime), 0o600)


def open_whole(folder: FolderHandle, name: bytes, mode: int) -> Partial:
    """A file under the hidden name of a small ``name``, which comes in one piece. ``OSError``."""
    return _open(folder, name, whole_name(name), mode)


def _open(folder: FolderHandle, name: bytes, hidden: bytes, mode: int) -> Partial:
    try:
        descriptor = os.open(hidden, _OPEN | os.O_CREAT | os.O_EXCL, mode, dir_fd=folder.descriptor)
    except FileExistsError:
        if (partial := _open_left(folder, name, hidden)) is not None:
            return partial
    else:
        if _lock(descriptor):
            return Partial(folder, name, hidden, descriptor)
        os.close(descriptor)
    # Another transfer is at it, or it is not ours: a name that nobody else has.
    hidden = tag(name) + os.urandom(8).hex().encode()
    descriptor = os.open(hidden, _OPEN | os.O_CREAT | os.O_EXCL, mode, dir_fd=folder.descriptor)
    _lock(descriptor)
    return Partial(folder, name, hidden, descriptor)


def find_partial(folder: FolderHandle, name: bytes, size: int, mtime: int, *, until: float = 0.0) -> Partial | None:
    """What an earlier transfer has left of this version of ``name``; None when there is nothing of use.

    ``until``: so long, on the monotonic clock, another transfer that is at it is given to end.
    """
    return _open_left(folder, name, partial_name(name, size, mtime), until)


def _open_left(folder: FolderHandle, name: bytes, hidden: bytes, until: float = 0.0) -> Partial | None:
    try:
        descriptor = os.open(hidden, _OPEN, dir_fd=folder.descriptor)
    except OSError:
        return None
    if _taken(descriptor, folder, hidden, until):
        return Partial(folder, name, hidden, descriptor, os.fstat(descriptor).st_size)
    os.close(descriptor)
    return None


def remove_left(folder: FolderHandle, hidden: bytes) -> None:
    """Remove a partial file that an earlier transfer has left, unless it is not ours, or a transfer is at it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(hidden, _LOOK, dir_fd=folder.descriptor)
        try:
            if _taken(descriptor, folder, hidden):
                os.unlink(hidden, dir_fd=folder.descriptor)
        finally:
            os.close(descriptor)


def _taken(descriptor: int, folder: FolderHandle, hidden: bytes, until: float = 0.0) -> bool:
    """Lock what is called ``hidden``. False when somebody else has it, or another account may."""
    status = os.fstat(descriptor)
    # In a folder that others may write to, somebody may have put it there and hold it open.
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or not _lock(descriptor, until):
        return False
    try:
        now = os.stat(hidden, dir_fd=folder.descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False  # who had it has ended, and it is in place
    return now.st_nlink == 1 and (now.st_dev, now.st_ino) == (status.st_dev, status.st_ino)


def _lock(descriptor: int, until: float = 0.0) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK_AGAIN)
        else:
            return True


class WriteOut:
    """Has a large file written to the disk while it arrives, so that the end need not wait for all of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._begun = 0
        self._call = _sync_file_range()

    def reached(self, offset: int) -> None:
        """Bytes up to ``offset`` have been written."""
        if self._call is not None and offset - self._begun >= _WRITE_OUT_EVERY:
            self._call(self._descriptor, self._begun, offset - self._begun, _SYNC_FILE_RANGE_WRITE)
            self._begun = offset


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """Linux's own call; None elsewhere. What it answers does not matter: it only hurries."""
    import ctypes  # late: a transfer of small files does without

    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    function.restype = ctypes.c_int

    def call(descriptor: int, offset: int, size: int, flags: int) -> int:
        return int(function(descriptor, offset, size, flags))

    return call
