"""A file that is open in a tree, and changes of attributes."""

from __future__ import annotations

import errno
import os
from typing import NamedTuple


class Change(NamedTuple):
    """Attributes to set, as far as they are given. ``times``: of the last access and change, in nanoseconds."""

    size: int | None = None
    owner: tuple[int, int] | None = None
    mode: int | None = None
    times: tuple[int, int] | None = None


class OpenFile:
    """An open file. Every method raises ``OSError`` as the system call."""

    def __init__(self, descriptor: int, *, appends: bool, read_only: bool, mode_mask: int) -> None:
        self.descriptor = descriptor
        self._appends = appends
        self._read_only = read_only
        self._mode_mask = mode_mask

    def close(self) -> None:
        """Close it. Some systems report only now that what was written did not get to the disk."""
        os.close(self.descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``offset``; fewer near the end, none behind it."""
        return os.pread(self.descriptor, size, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Write all of ``data``: at ``offset``, or at the end when it was opened to append."""
        view = memoryview(data)
        while view:
            written = os.write(self.descriptor, view) if self._appends else os.pwrite(self.descriptor, view, offset)
            offset += written
            view = view[written:]

    def stat(self) -> os.stat_result:
        """Its attributes."""
        return os.fstat(self.descriptor)

    def set(self, change: Change) -> None:
        """Change its attributes. Permission to do so is not that to write: it needs a tree that is not read-only."""
        if self._read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if change.size is not None:
            os.ftruncate(self.descriptor, change.size)
        if change.owner is not None:
            os.fchown(self.descriptor, *change.owner)
        if change.mode is not None:
            os.fchmod(self.descriptor, change.mode & self._mode_mask)
        if change.times is not None:
            os.utime(self.descriptor, ns=change.times)

    def sync(self) -> None:
        """Wait until its content is on the disk."""
        os.fsync(self.descriptor)

    def space(self) -> os.statvfs_result:
        """The file system that it is on."""
        return os.fstatvfs(self.descriptor)
