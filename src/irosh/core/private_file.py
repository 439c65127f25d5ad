"""Files that only their owner may read, so written that a crash leaves the old content or the new.

Also the one place that words what the operating system says about a failed file operation.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError

PRIVATE_MODE = 0o600

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a file system without hard links says to link(2); Android's application storage says EACCES.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# What a file system that cannot flush a directory says to fsync(2) of one.
_NO_DIRECTORY_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)


def file_error(action: str, path: Path, error: OSError) -> IroshError:
    """The :class:`IroshError` for a failed operation: ``"cannot ACTION PATH: REASON"`` and a hint.

    ``DISK_FULL`` for a full disk, a used-up quota or a file-size limit, otherwise ``STATE_UNUSABLE``.
    """
    reason = (error.strerror or str(error)).lower()
    message = f"cannot {action} {path}: {reason}"
    code = ErrorCode.DISK_FULL if error.errno in _FULL else ErrorCode.STATE_UNUSABLE
    hints = {
        errno.ENOSPC: "free some space there, then try again",
        errno.EDQUOT: "free some of your quota there, then try again",
        errno.EFBIG: "raise the limit on the size of files (ulimit -f), then try again",
        errno.EROFS: "the file system is mounted read-only; choose another directory with --state DIR",
        errno.EACCES: "check who owns it, or choose another directory with --state DIR",
        errno.EPERM: "check who owns it, or choose another directory with --state DIR",
        errno.ENOTDIR: "a part of this path is a file; choose another directory with --state DIR",
        errno.ENAMETOOLONG: "choose a shorter path with --state DIR",
    }
    return IroshError(code, message, hints.get(error.errno or 0, ""))


def write_private_file(path: Path, data: bytes) -> None:
    """Replace ``path`` by a file of mode 0600 with ``data`` in it, atomically and durably.

    A symbolic link at ``path`` is replaced, not followed. On failure the old file is intact and nothing is
    left over.

    Raises:
        IroshError: ``DISK_FULL`` or ``STATE_UNUSABLE``.
    """
    try:
        temporary = _write_temporary(path, data)
        try:
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
        _flush_directory(path.parent)
    except OSError as error:
        raise file_error("write", path, error) from error


def create_private_file(path: Path, data: bytes) -> None:
    """Like :func:`write_private_file`, but only if nothing is at ``path`` yet.

    Of several processes that try at once exactly one succeeds, and what the others find is complete.

    Raises:
        FileExistsError: something is at ``path``.
        IroshError: ``DISK_FULL`` or ``STATE_UNUSABLE``.
    """
    try:
        temporary = _write_temporary(path, data)
        try:
            path.hardlink_to(temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _write_new(path, data)  # exclusive too, but a reader at this very moment may see half of it
        finally:
            temporary.unlink()
        _flush_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise file_error("create", path, error) from error


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    _write_new(temporary, data)
    return temporary


def _write_new(path: Path, data: bytes) -> None:
    """Create ``path`` exclusively, private from the first instant, with ``data`` on disk; no leftovers."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE)
    try:
        try:
            os.fchmod(descriptor, PRIVATE_MODE)  # whatever the umask took away
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        path.unlink()
        raise


def _flush_directory(directory: Path) -> None:
    """Make a rename in ``directory`` survive a power failure, where the file system can."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_FLUSH:
            raise
    finally:
        os.close(descriptor)
