"""Folders and symbolic links on the receiving side: made as they are announced, finished when all is there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.frames import Folder, Link, decode
from irosh.services.files.transfer.partial import PREFIX
from irosh.services.files.transfer.storing import Store, check_target

MAX_FOLDERS = 1_000_000
MAX_NAMES = 8_000_000
"""On the ways to all of them: they stay in memory until all is there."""


class Structure:
    """``confined``: links that lead out of their folder are refused."""

    def __init__(self, store: Store, *, confined: bool) -> None:
        self._store = store
        self._confined = confined
        self._made: list[Folder] = []
        self._names = 0

    def folder(self, payload: memoryview) -> None:
        """A folder is announced."""
        folder = decode(payload, Folder)
        self._names += len(folder.parts)
        if len(self._made) >= MAX_FOLDERS or self._names > MAX_NAMES:
            raise IroshError(ErrorCode.PROTOCOL, "more folders than can be borne in mind")
        store = self._store
        try:
            parent, name = store.locate(folder.source, folder.parts)
            if not name:
                return  # the destination itself, which keeps its own times and permissions
            fresh = True
            try:
                os.mkdir(name, 0o700, dir_fd=parent.descriptor)
            except FileExistsError:
                fresh = False
            store.folders.made(folder.source, tuple(folder.parts), parent.folder(name, fresh=fresh))
            self._made.append(folder)
        except OSError as error:
            store.failure(None, folder.source, folder.parts, error)

    def finish(self) -> None:
        """Times and permissions, which would not have lasted, or let nothing in, before."""
        store = self._store
        for folder in reversed(self._made):
            try:
                parent, name = store.locate(folder.source, folder.parts)
                handle = parent.folder(name)
                inherited = os.fstat(handle.descriptor).st_mode & stat.S_ISGID
                os.fchmod(handle.descriptor, store.mode(folder.mode, 0o777) | inherited)
                if store.order.preserve:
                    os.utime(handle.descriptor, ns=(folder.mtime, folder.mtime))
            except OSError as error:
                store.failure(None, folder.source, folder.parts, error)

    def link(self, payload: memoryview) -> None:
        """A symbolic link is announced."""
        link = decode(payload, Link)
        try:
            self._make(link)
        except (OSError, ValueError) as error:
            self._store.failure(None, link.source, link.parts, error)

    def _make(self, link: Link) -> None:
        hidden = PREFIX + os.urandom(16).hex().encode()
        parent, name = self._store.locate(link.source, link.parts)
        check_target(parent, name)
        if self._confined and _leads_up(link.target):
            # It leads nobody out who comes this way, but it would those who use the tree otherwise.
            raise PermissionError(errno.EACCES, "a link that leads out of its folder")
        os.symlink(link.target, hidden, dir_fd=parent.descriptor)
        try:
            os.rename(hidden, name, src_dir_fd=parent.descriptor, dst_dir_fd=parent.descriptor)
        except OSError:
            os.unlink(hidden, dir_fd=parent.descriptor)
            raise
        if self._store.order.preserve:
            with contextlib.suppress(OSError, NotImplementedError):
                os.utime(name, ns=(link.mtime, link.mtime), dir_fd=parent.descriptor, follow_symlinks=False)


def _leads_up(target: bytes) -> bool:
    return target.startswith(b"/") or b".." in target.split(b"/")
