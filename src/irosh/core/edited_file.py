"""Changing a file that is the user's own: what a crash or a full disk leaves is the old content or the new."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.private_file import file_error, replace_file

MAX_SIZE = 4 * 1024 * 1024  # bytes of a file that is changed


def read_own_file(path: Path) -> tuple[bytes, os.stat_result | None]:
    """The content of ``path``, and what the system says of it; nothing and None if there is no file.

    ``IroshError`` (usage) for what is no regular file or too large; what :func:`file_error` makes of other failures.
    """
    try:
        # Not to wait for ever if someone put a FIFO there.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return b"", None
    except OSError as error:
        raise file_error("read", path, error) from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise IroshError(ErrorCode.USAGE, f"{path} is not a regular file")
        content = file.read(MAX_SIZE + 1)
    if len(content) > MAX_SIZE:
        raise IroshError(ErrorCode.USAGE, f"{path} is larger than {MAX_SIZE} bytes")
    return content, status


def change_own_file(path: Path, content: bytes, status: os.stat_result | None, backup: Path | None) -> None:
    """Replace the file at ``path``, of which ``status`` was read, after copying it to ``backup``, if that is wanted.

    Mode and owner stay; a symbolic link is followed, so that the file it names changes. A new file has mode 0600.
    ``IroshError``: disk-full, state-unusable; the old file is then as it was.
    """
    real = Path(os.path.realpath(path))
    if status is not None:
        old, now = read_own_file(real)
        if now is None or (now.st_ino, now.st_mtime_ns) != (status.st_ino, status.st_mtime_ns):
            raise IroshError(ErrorCode.USAGE, f"{path} was changed just now by another program", "try again")
        if backup is not None:
            replace_file(backup, old, status)
    replace_file(real, content, status)
