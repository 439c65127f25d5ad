"""Reading a file that decides who gets in, only where nobody else can have written it: sshd's ``StrictModes``."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from irosh.core.errors import ErrorCode, IroshError

T = TypeVar("T")

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_strict_file(path: Path, max_size: int) -> tuple[bytes, os.stat_result]:
    """What is in the file, and its status.

    ``IroshError``: usage when it cannot be read; key-unsafe when it, or a directory on the way to it, belongs to
    another user or can be written by others. A sticky directory of root, as /tmp is, is no danger: others cannot
    replace there what is not theirs.
    """
    try:
        real = path.resolve(strict=True)
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise IroshError(ErrorCode.USAGE, f"{path} is not a regular file")
            _check(real, status)
            for directory in real.parents:
                _check(directory, directory.lstat())
            content = file.read(max_size + 1)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise IroshError(ErrorCode.USAGE, f"cannot read {path}: {reason}") from None
    if len(content) > max_size:
        raise IroshError(ErrorCode.USAGE, f"{path} is larger than {max_size} bytes")
    return content, status


def _check(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise _unsafe(path, "belongs to another user")
    shared_safely = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX and status.st_uid == 0
    if status.st_mode & _OTHERS_WRITE and not shared_safely:
        raise _unsafe(path, "can be written by others")


def _unsafe(path: Path, reason: str) -> IroshError:
    return IroshError(
        ErrorCode.KEY_UNSAFE, f"{path} {reason}, so nobody is let in by it", f"run: chmod go-w {path}; check its owner"
    )


class StrictFile(Generic[T]):
    """Such a file, read again when it has changed. ``parse`` is given its content once for each change."""

    def __init__(self, path: Path, max_size: int, parse: Callable[[bytes], T]) -> None:
        self.path = path
        self._max_size = max_size
        self._parse = parse
        self._seen: tuple[int, ...] = ()
        self._found: tuple[bytes, T] | None = None

    def read(self) -> T:
        """What is in it now. ``IroshError`` as of :func:`read_strict_file`, and what ``parse`` raises."""
        try:
            status = self.path.stat()
            now: tuple[int, ...] = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
        except OSError:
            now = ()
        # What was changed within a tick of the file system's clock might look the same: then it is read again.
        settled = now and time.time_ns() - max(now[:2]) > 100_000_000
        if self._found is not None and now == self._seen and settled:
            return self._found[1]
        try:
            content, _ = read_strict_file(self.path, self._max_size)
            if self._found is None or content != self._found[0]:
                self._found = content, self._parse(content)
        except BaseException:
            self._found = None
            raise
        self._seen = now
        return self._found[1]
