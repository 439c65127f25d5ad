"""Writing to a descriptor that somebody may have set not to block."""

from __future__ import annotations

import errno
import os
import select

from irosh.core.errors import ErrorCode, IroshError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data`` to a standard stream. ``IroshError`` (disk-full) when that is a file that takes no more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError as error:
            if error.errno not in _FULL:
                raise
            where = "output" if descriptor == 1 else "error"
            raise IroshError(ErrorCode.DISK_FULL, f"cannot write standard {where}: {error.strerror}") from None
