"""The files that one side of a transfer may touch, by path. Whatever goes on below a folder goes by its descriptor."""

from __future__ import annotations

import os
from typing import Protocol

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A named pipe that takes a file's place would otherwise hold us up.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Access(Protocol):
    """Paths are bytes. Symbolic links are followed as far as they stay within what is allowed. All raise ``OSError``.

    ``confined``: this is less than all that the account may touch.
    """

    @property
    def confined(self) -> bool: ...

    def status(self, path: bytes) -> os.stat_result:
        """What is at ``path``, behind links."""

    def resolve(self, path: bytes) -> bytes:
        """``path`` without links; what does not exist stays as it is."""

    def open_file(self, path: bytes) -> int:
        """A descriptor for reading."""

    def open_folder(self, path: bytes, *, writing: bool = False) -> int:
        """A descriptor of the folder. ``writing``: things in it will be made or replaced."""


class WholeAccess:
    """All that the account of this process may touch. Relative paths begin at the working directory."""

    confined = False

    def status(self, path: bytes) -> os.stat_result:
        return os.stat(path)  # noqa: PTH116 - bytes

    def resolve(self, path: bytes) -> bytes:
        return os.path.realpath(path)

    def open_file(self, path: bytes) -> int:
        return os.open(path, _FILE)

    def open_folder(self, path: bytes, *, writing: bool = False) -> int:
        return os.open(path, _FOLDER)


class FolderHandle:
    """An open folder, closed when nobody holds it any more."""

    def __init__(self, descriptor: int, *, fresh: bool = False) -> None:
        self.descriptor = descriptor
        self.fresh = fresh
        """Made by this transfer: nothing else is in it."""

    def __del__(self) -> None:
        os.close(self.descriptor)

    def folder(self, name: bytes, *, fresh: bool = False) -> FolderHandle:
        """A folder in this one, which must not be a link. ``OSError``."""
        return FolderHandle(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self.descriptor), fresh=fresh)
