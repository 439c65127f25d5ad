"""The files a peer may use: every operation on them goes through here, and none leaves the peer's trees.

Paths are those of the peer's view (:mod:`irosh.services.files.view`), as bytes. :mod:`irosh.services.files.walk`
finds what they name, and whether it may be changed is decided in :meth:`Tree._place`, nowhere else. Every method
raises ``OSError``: ENOENT, EACCES, EROFS in a read-only tree, EBUSY for what holds the view together...

The account's own rights come first: this runs in a process of that account.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from irosh.services.files.open_file import Change, OpenFile
from irosh.services.files.view import View, join, means_directory
from irosh.services.files.walk import HERE, Place, Walker

_ANY_MODE = 0o7777
# Who was granted a tree was not granted the account: a program that runs as the account would be a way to it.
_CONFINED_MODE = 0o1777
_OPEN = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # a FIFO or a terminal shall not hold us up
_CHANGING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY | os.O_NONBLOCK)


_ABOVE = os.stat_result((stat.S_IFDIR | 0o555, 0, 0, 2, 0, 0, 0, 0, 0, 0))
"""What is told of a directory above the trees."""


class Listing:
    """A directory that is being read: names and attributes, in whatever order they come. Close it."""

    def __init__(self, descriptor: int, more: list[bytes]) -> None:
        self._descriptor = descriptor
        self._more = more
        self._entries = os.scandir(descriptor) if descriptor >= 0 else None

    def __iter__(self) -> Iterator[tuple[bytes, os.stat_result]]:
        for name in self._more:
            yield name, _ABOVE
        if self._entries is not None:
            for entry in self._entries:
                name = os.fsencode(entry.name)
                try:
                    yield name, os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed meanwhile

    def close(self) -> None:
        """Stop reading."""
        if self._entries is not None:
            self._entries.close()
            self._entries = None
            os.close(self._descriptor)


class Tree:
    """The files of one ``view``."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._walker = Walker(view)
        self._mode_mask = _CONFINED_MODE if view.confined else _ANY_MODE

    def close(self) -> None:
        """Close the roots of the trees. Files that are open stay so."""
        self._walker.close()

    # -- looking

    def real_path(self, path: bytes) -> bytes:
        """``path`` without links, ``.`` and ``..``, in the view. What its last name is need not exist."""
        with self._walker.place(path, follow=True) as place:
            return join(place.names)

    def stat(self, path: bytes, *, follow: bool = True) -> os.stat_result:
        """Attributes; with ``follow`` of what a symbolic link names."""
        with self._walker.place(path, follow=follow) as place:
            return _stat(place)

    def read_link(self, path: bytes) -> bytes:
        """What a symbolic link says."""
        with self._place(path) as place:
            return os.readlink(place.name, dir_fd=place.parent)

    def list(self, path: bytes) -> Listing:
        """Begin to read a directory."""
        with self._walker.place(path, follow=True) as place:
            if place.mount is None:
                return Listing(-1, self.view.on_the_way(place.names))
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return Listing(os.open(place.name, flags, dir_fd=place.parent), [])

    def space(self, path: bytes) -> os.statvfs_result:
        """The file system that ``path`` is on."""
        with self._walker.place(path, follow=True) as place:
            if place.mount is None:
                return self.space(join(self.view.mounts[0].at))
            descriptor = os.open(place.name, _PATH_ONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place.parent)
        try:
            return os.fstatvfs(descriptor)
        finally:
            os.close(descriptor)

    def open(self, path: bytes, flags: int, mode: int = 0o666) -> OpenFile:
        """Open a file; ``flags`` as open(2). Only regular files, unless the peer may use everything."""
        changes = bool(flags & _CHANGING)
        if flags & os.O_CREAT and means_directory(path):
            raise _error(errno.EISDIR)
        exclusive = bool(flags & os.O_CREAT and flags & os.O_EXCL)
        with self._place(path, follow=not exclusive, change=changes) as place:
            if self.view.confined:
                with suppress(FileNotFoundError):
                    self._check_kind(_stat(place))  # before, because opening a device may do something by itself
            descriptor = os.open(place.name, flags | _OPEN, mode & self._mode_mask, dir_fd=place.parent)
            assert place.mount is not None
            read_only = place.mount.read_only
        try:
            self._check_kind(os.fstat(descriptor))
        except OSError:
            os.close(descriptor)
            raise
        return OpenFile(descriptor, appends=bool(flags & os.O_APPEND), read_only=read_only, mode_mask=self._mode_mask)

    # -- changing

    def set(self, path: bytes, change: Change, *, follow: bool = True) -> None:
        """Change attributes; with ``follow`` of what a symbolic link names."""
        if change.size is not None:
            file = self.open(path, os.O_WRONLY)
            try:
                file.set(Change(size=change.size))
            finally:
                file.close()
        with self._place(path, follow=follow, change=True) as place:
            if change.owner is not None:
                os.chown(place.name, *change.owner, dir_fd=place.parent, follow_symlinks=False)
            if change.mode is not None:
                _change_mode(place, change.mode & self._mode_mask)
            if change.times is not None:
                os.utime(place.name, ns=change.times, dir_fd=place.parent, follow_symlinks=False)

    def make_directory(self, path: bytes, mode: int = 0o777) -> None:
        """As mkdir(2)."""
        with self._place(path, change=True) as place:
            if place.name == HERE:
                raise _error(errno.EEXIST)
            os.mkdir(place.name, mode & self._mode_mask, dir_fd=place.parent)

    def remove_directory(self, path: bytes) -> None:
        """As rmdir(2)."""
        with self._movable(path) as place:
            os.rmdir(place.name, dir_fd=place.parent)

    def remove(self, path: bytes) -> None:
        """As unlink(2): no directories."""
        with self._movable(path) as place:
            os.unlink(place.name, dir_fd=place.parent)

    def rename(self, old: bytes, new: bytes) -> None:
        """As rename(2): takes the place of what ``new`` names, at once."""
        with self._movable(old) as source, self._movable(new) as target:
            os.rename(source.name, target.name, src_dir_fd=source.parent, dst_dir_fd=target.parent)

    def rename_new(self, old: bytes, new: bytes) -> None:
        """Rename, unless ``new`` exists: EEXIST."""
        with self._movable(old) as source, self._movable(new) as target:
            ways = {"src_dir_fd": source.parent, "dst_dir_fd": target.parent}
            if not stat.S_ISDIR(_stat(source).st_mode):
                try:
                    # The only way there is everywhere to make a name unless it exists.
                    os.link(source.name, target.name, follow_symlinks=False, **ways)
                    os.unlink(source.name, dir_fd=source.parent)
                    return
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV, errno.EMLINK):
                        raise
            try:
                _stat(target)
            except FileNotFoundError:
                os.rename(source.name, target.name, **ways)  # noqa: PTH104 - in directories that are open
            else:
                raise _error(errno.EEXIST)

    def link(self, old: bytes, new: bytes) -> None:
        """A second name for a file. Both must be where changes are allowed: it is the same file afterwards."""
        with self._movable(old) as source, self._movable(new) as target:
            os.link(
                source.name,
                target.name,
                src_dir_fd=source.parent,
                dst_dir_fd=target.parent,
                follow_symlinks=False,
            )

    def symlink(self, says: bytes, path: bytes) -> None:
        """A symbolic link. Who is confined cannot make one that leads others out of the tree."""
        with self._movable(path) as place:
            if self.view.confined:
                kept = self.view.link_text(says, place.names[:-1])
                if kept is None:
                    raise _error(errno.EACCES)
                says = kept
            os.symlink(says, place.name, dir_fd=place.parent)

    # -- the gates

    @contextmanager
    def _place(self, path: bytes, *, follow: bool = False, change: bool = False) -> Iterator[Place]:
        """What ``path`` names, in a mount; if it is to be changed, in one where that is allowed."""
        with self._walker.place(path, follow=follow) as place:
            if place.mount is None:
                raise _error(errno.EROFS if change else errno.EISDIR)
            if change and place.mount.read_only:
                raise _error(errno.EROFS)
            yield place

    @contextmanager
    def _movable(self, path: bytes) -> Iterator[Place]:
        """A name that may be made, moved and removed: not where a mount appears, nor on the way to one."""
        # A slash at the end says that it is a directory, not that a link is to be followed.
        with self._place(path.rstrip(b"/") or b"/", change=True) as place:
            if place.name == HERE or self.view.is_fixed(place.names):
                raise _error(errno.EBUSY)
            yield place

    def _check_kind(self, found: os.stat_result) -> None:
        """Directories are not opened as files; devices and the like only by who may use everything."""
        if stat.S_ISDIR(found.st_mode):
            raise _error(errno.EISDIR)
        if self.view.confined and not stat.S_ISREG(found.st_mode):
            raise _error(errno.EACCES)


def _stat(place: Place) -> os.stat_result:
    if place.mount is None:
        return _ABOVE
    if place.name == HERE:
        return os.fstat(place.parent)  # looking at a directory takes no right to look into it
    return os.stat(place.name, dir_fd=place.parent, follow_symlinks=False)


def _change_mode(place: Place, mode: int) -> None:
    try:
        os.chmod(place.name, mode, dir_fd=place.parent, follow_symlinks=False)
    except (ValueError, NotImplementedError):
        # The system cannot do it that way, to this file or at all (glibc needs /proc for it).
        descriptor = os.open(place.name, os.O_RDONLY | _OPEN, dir_fd=place.parent)
        try:
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
