"""Files that only their owner may read, so written that a crash leaves the old content or the new.

Also the one place that words what the operating system says about a failed file operation.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError

PRIVATE_MODE = 0o600

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What a file system without hard links says to link(2); Android's application storage says EACCES.
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# What a file system that cannot flush a directory says to fsync(2) of one.
_NO_DIRECTORY_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF)


MAX_SECRET = 16 * 1024
"""Bytes of the largest secret that is read; a key file has about 400."""


@dataclass(frozen=True)
class SecretFile:
    """How messages speak of a file with a secret, and what they advise.

    ``what``: such as "the identity key". The hints: for a file that is a symbolic link, that belongs to another user,
    that holds no secret.
    """

    what: str
    linked: str
    foreign: str
    damaged: str


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
    replace_file(path, data, None)


def replace_file(path: Path, data: bytes, like: os.stat_result | None) -> None:
    """As :func:`write_private_file`, with mode and owner of ``like``."""
    try:
        temporary = _write_temporary(path, data)
        try:
            if like is not None:
                _make_like(temporary, like)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
        _flush_directory(path.parent)
    except OSError as error:
        raise file_error("write", path, error) from error


def _make_like(path: Path, like: os.stat_result) -> None:
    if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(path, like.st_uid, like.st_gid)
    path.chmod(stat.S_IMODE(like.st_mode))


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


def read_private_file(path: Path, wording: SecretFile) -> bytes:
    """The content of ``path``, once the open file itself (not the name) has proved safe; not only white space.

    Raises:
        FileNotFoundError: nothing is there.
        IroshError: ``KEY_UNSAFE`` if others may read or replace it: a mode with group or world bits, another owner
            (unless running as root), a symbolic link. ``KEY_INVALID`` if it can hold no key. ``STATE_UNUSABLE`` if
            it cannot be read.
    """
    # O_NONBLOCK: opening a FIFO somebody left there must not wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    action = f"read {wording.what}"
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK) and path.is_symlink():
            raise IroshError(
                ErrorCode.KEY_UNSAFE, f"{wording.what} {path} is a symbolic link", wording.linked
            ) from None
        raise file_error(action, path, error) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "is a directory" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
            raise _no_secret(path, wording, kind)
        _check_safe(path, status, wording)
        content = os.read(descriptor, MAX_SECRET + 1)
    except OSError as error:
        raise file_error(action, path, error) from error
    finally:
        os.close(descriptor)
    if len(content) > MAX_SECRET:
        raise _no_secret(path, wording, "is too large to be a key")
    if not content.strip():
        raise _no_secret(path, wording, "is empty")
    return content


def _check_safe(path: Path, status: os.stat_result, wording: SecretFile) -> None:
    import shlex

    user = os.geteuid()
    if user not in (0, status.st_uid):
        raise IroshError(
            ErrorCode.KEY_UNSAFE,
            f"{wording.what} {path} belongs to another user (uid {status.st_uid})",
            wording.foreign,
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise IroshError(
            ErrorCode.KEY_UNSAFE,
            f"{wording.what} {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o})",
            f"chmod 600 {shlex.quote(str(path))}",
        )


def _no_secret(path: Path, wording: SecretFile, problem: str) -> IroshError:
    return IroshError(ErrorCode.KEY_INVALID, f"{wording.what} {path} {problem}", wording.damaged)
