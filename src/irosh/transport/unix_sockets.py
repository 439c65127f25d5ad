"""Unix sockets at paths that others may change meanwhile: what was allowed is what is used, and only ours is removed.

A path that the policy has allowed has no symbolic link in it. Should one come into it before it is used, the use
fails: each directory on the way is opened below the one before, and never through a link. Where the system cannot do
that (it takes Linux, with ``/proc``), the path is used as it is.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager

_PATH_ONLY = getattr(os, "O_PATH", os.O_RDONLY)
_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC | _PATH_ONLY
_DESCRIPTORS = "/proc/self/fd"


class UnixListener(socket.socket):
    """A socket that listens in a directory which it holds open, to take its own file away again and no other."""

    def __init__(self, path: str, *, follow_links: bool, unlink: bool) -> None:
        """At ``path``; non-blocking, for this user only. ``OSError``.

        ``follow_links``: in the directories of the path. ``unlink``: a socket that is in the way is removed, whoever
        listens there; otherwise only one on which nobody does.
        """
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._held = -1
        parent, _, self._name = path.rpartition("/")
        previous = os.umask(0o177)
        try:
            self.setblocking(False)
            self._held = _open_directory(parent or "/", follow_links=follow_links)
            address = path if follow_links else _address(self._held, self._name, path)
            _remove_socket(self._held, self._name, address, alive=unlink)
            self.bind(address)
            self._file = _identity(self._held, self._name)
        except BaseException:
            self.close()
            raise
        finally:
            os.umask(previous)

    def close(self) -> None:
        """Close it; the file stays."""
        super().close()
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def remove(self) -> None:
        """Close it, and take its file away, unless another one is in its place by now."""
        with contextlib.suppress(OSError):
            if self._held >= 0 and _identity(self._held, self._name) == self._file:
                os.unlink(self._name, dir_fd=self._held)
        self.close()


@contextmanager
def without_links(path: str) -> Iterator[str]:
    """What to connect to in place of ``path``, so that it is what is there now. ``OSError``, also for a link in it."""
    parent, _, name = path.rpartition("/")
    directory = _open_directory(parent or "/", follow_links=False)
    try:
        if not _has_descriptors():
            yield path
            return
        held = os.open(name, _PATH_ONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            yield f"{_DESCRIPTORS}/{held}"
        finally:
            os.close(held)
    finally:
        os.close(directory)


def _open_directory(path: str, *, follow_links: bool) -> int:
    if follow_links:
        return os.open(path, _DIRECTORY)
    descriptor = os.open("/", _DIRECTORY)
    for name in filter(None, path.split("/")):
        try:
            below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _address(directory: int, name: str, path: str) -> str:
    return f"{_DESCRIPTORS}/{directory}/{name}" if _has_descriptors() else path


def _has_descriptors() -> bool:
    return hasattr(os, "O_PATH") and os.path.isdir(_DESCRIPTORS)  # noqa: PTH112 - no path of anybody's


def _identity(directory: int, name: str) -> tuple[int, int]:
    """Tells a file from any other: as long as a socket is bound to it, no other can have its inode."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    return status.st_dev, status.st_ino


def _remove_socket(directory: int, name: str, address: str, *, alive: bool) -> None:
    """A socket file that nobody listens on is left over from a killed process; others are not ours to remove.

    Unless it is asked for (``alive``); what is no socket never is.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return
        if alive:
            os.unlink(name, dir_fd=directory)
            return
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        probe.setblocking(False)
        try:
            probe.connect(address)
        except BlockingIOError:
            pass  # its backlog is full: somebody is there
        except ConnectionRefusedError:
            os.unlink(name, dir_fd=directory)
        finally:
            probe.close()
