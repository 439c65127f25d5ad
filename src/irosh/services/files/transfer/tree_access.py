"""The files of a peer that was granted only some trees, for a transfer."""

from __future__ import annotations

import errno
import os

from irosh.services.files.tree import Tree
from irosh.services.files.view import View
from irosh.services.files.walk import Walker

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeAccess:
    """See :class:`irosh.services.files.transfer.access.Access`. Paths are those of the peer's view."""

    confined = True

    def __init__(self, view: View) -> None:
        self._tree = Tree(view)
        self._walker = Walker(view)

    def status(self, path: bytes) -> os.stat_result:
        return self._tree.stat(path)

    def resolve(self, path: bytes) -> bytes:
        return self._tree.real_path(path)

    def open_file(self, path: bytes) -> int:
        return self._tree.open(path, os.O_RDONLY).descriptor

    def open_folder(self, path: bytes, *, writing: bool = False) -> int:
        with self._walker.place(path, follow=True) as place:
            if place.mount is None:
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))  # on the way to the trees, and in none
            if writing and place.mount.read_only:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return os.open(place.name, _FOLDER, dir_fd=place.parent)
