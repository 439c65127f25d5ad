"""What earlier transfers have left in the folders that files arrive in, and that nobody will go on with.

Removed is only what belongs to this account, is held by no other transfer, and is named as a partial file.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time

from irosh.services.files.transfer.access import FolderHandle
from irosh.services.files.transfer.partial import PREFIX, left_of, remove_left

KEPT = 14 * 86_400.0
"""Seconds after which a partial file is no longer waited for, since anything about it was changed."""


class Leftovers:
    """Of one folder at a time, which is looked into once: files come folder by folder."""

    def __init__(self) -> None:
        self._folder: FolderHandle | None = None
        self._names: set[bytes] = set()

    def replaced(self, folder: FolderHandle, name: bytes, hidden: bytes = b"") -> None:
        """A file ``name`` arrives, or is there: remove what is left of others of that name, but not ``hidden``."""
        if folder.fresh:
            return
        if folder is not self._folder:
            self._folder, self._names = folder, sweep(folder, time.time() - KEPT)
        if self._names:
            for other in left_of(name, self._names - {hidden}):
                self._names.discard(other)
                remove_left(folder, other)


def sweep(folder: FolderHandle, before: float) -> set[bytes]:
    """Remove partial files that were last changed ``before`` a time; the names of the others."""
    kept = set()
    for name in _names_in(folder):
        try:
            status = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
        except OSError:
            continue  # its transfer has just ended
        if status.st_ctime >= before or status.st_uid != os.geteuid():
            kept.add(name)
        elif stat.S_ISLNK(status.st_mode):  # what it leads to is not ours to touch
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=folder.descriptor)
        else:
            remove_left(folder, name)
    return kept


def _names_in(folder: FolderHandle) -> list[bytes]:
    with contextlib.suppress(OSError), os.scandir(folder.descriptor) as entries:
        return [name for each in entries if (name := os.fsencode(each.name)).startswith(PREFIX)]
    return []
