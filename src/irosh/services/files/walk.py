"""Finding what a path of a view names, one directory at a time, so that nothing can lead out of its mounts.

Each directory on the way is opened below the one before, never through a symbolic link. Links are read and followed
here, within the view, and ``..`` goes back to the directory we came from. So it does not matter what others rename
or replace meanwhile: no step takes a path that the system would resolve by itself. What is found is a directory that
is open, and a name in it that must not be followed (``O_NOFOLLOW``).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from irosh.services.files.view import Mount, Names, View, means_directory, split

MAX_LINKS = 40  # as Linux
MAX_DEPTH = 200  # directories that are open at once while a path is resolved
LONGEST_PATH = 4096

HERE = b"."
_DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)


class Place(NamedTuple):
    """What a path names: ``name`` in the directory ``parent``. It need not exist.

    ``name`` is ``.`` for a mount's root and where a path ends in ``..``. Above the mounts there is no ``mount``, and
    ``parent`` is -1.
    """

    names: Names
    mount: Mount | None
    parent: int
    name: bytes


class _Level(NamedTuple):
    mount: Mount | None
    descriptor: int


class Walker:
    """Resolves paths of ``view``. Opens the root of each mount once, when it is first needed."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._roots: dict[Mount, int] = {}

    def close(self) -> None:
        """Close the roots."""
        while self._roots:
            os.close(self._roots.popitem()[1])

    @contextmanager
    def place(self, path: bytes, *, follow: bool) -> Iterator[Place]:
        """What ``path`` names, for the length of the block. ``follow``: if it is a symbolic link, what that names.

        ``OSError`` as open(2).
        """
        levels: list[_Level] = []
        try:
            yield self._walk(path, follow, levels)
        finally:
            for level in levels:
                self._close(level)

    def _walk(self, path: bytes, follow: bool, levels: list[_Level]) -> Place:
        if b"\0" in path:
            raise _error(errno.EINVAL)
        if len(path) > LONGEST_PATH:
            raise _error(errno.ENAMETOOLONG)
        wanted, absolute = split(path)
        pending = [*reversed(wanted), *(() if absolute else reversed(self._view.start))]
        names: Names = ()
        levels.append(self._above_or_root(names))
        links = 0
        directory = means_directory(path)
        while pending:
            name = pending.pop()
            if name == b"..":
                if names:
                    names = names[:-1]
                    self._leave(levels)
                continue
            here, below = levels[-1], (*names, name)
            target = None
            if here.mount is None or self._view.mount_at(below) is not None:
                levels.append(self._above_or_root(below))
            elif pending or directory:
                if len(levels) > MAX_DEPTH:
                    raise _error(errno.ENAMETOOLONG)
                try:
                    target = _enter(here, name, levels)
                except FileNotFoundError:
                    if pending:
                        raise
                    return Place(below, here.mount, here.descriptor, name)
                if target is None and not pending:
                    self._leave(levels)  # it is a directory, as it should be
                    return Place(below, here.mount, here.descriptor, name)
            elif not follow or (target := _link_target(here.descriptor, name)) is None:
                return Place(below, here.mount, here.descriptor, name)
            if target is None:
                names = below
                continue
            links += 1
            if links > MAX_LINKS:
                raise _error(errno.ELOOP)
            onward, absolute = split(target)
            # What a link in the middle says is followed by more, which says what the whole can name.
            directory = directory or (not pending and means_directory(target))
            pending.extend(reversed(onward))
            if absolute:
                names = ()
                while len(levels) > 1:
                    self._leave(levels)
        return Place(names, levels[-1].mount, levels[-1].descriptor, HERE)

    def _above_or_root(self, names: Names) -> _Level:
        """A mount's root, or a directory on the way to one."""
        mount = self._view.mount_at(names)
        if mount is None:
            if not self._view.is_fixed(names):
                raise _error(errno.ENOENT)
            return _Level(None, -1)
        if mount not in self._roots:
            # The host's owner named it, links included. It is opened as it is now, and kept.
            self._roots[mount] = os.open(mount.path, _DIRECTORY & ~os.O_NOFOLLOW)
        return _Level(mount, self._roots[mount])

    def _leave(self, levels: list[_Level]) -> None:
        self._close(levels.pop())

    def _close(self, level: _Level) -> None:
        if level.descriptor >= 0 and level.descriptor not in self._roots.values():
            os.close(level.descriptor)


def _enter(here: _Level, name: bytes, levels: list[_Level]) -> bytes | None:
    """Open the directory ``name`` as the next level; or, when it is a symbolic link, return what it says."""
    for _ in range(MAX_LINKS):
        try:
            levels.append(_Level(here.mount, os.open(name, _DIRECTORY, dir_fd=here.descriptor)))
            return None
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.EMLINK):
                raise
        if (target := _link_target(here.descriptor, name)) is not None:
            return target
        if not stat.S_ISDIR(os.stat(name, dir_fd=here.descriptor, follow_symlinks=False).st_mode):
            raise _error(errno.ENOTDIR)
    raise _error(errno.ELOOP)  # somebody keeps changing it


def _link_target(parent: int, name: bytes) -> bytes | None:
    """What the symbolic link ``name`` says; None when it is none, or does not exist."""
    try:
        target = os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise
    if not target:
        raise _error(errno.ENOENT)
    return target


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
