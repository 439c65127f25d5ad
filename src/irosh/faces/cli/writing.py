"""Writing to a descriptor that somebody may have set not to block, and what becomes of output that nobody takes."""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager

from irosh.core.errors import ErrorCode, IroshError, system_message

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


@contextmanager
def telling_unwritten() -> Iterator[None]:
    """``IroshError`` for output that cannot be written in the block; ``BrokenPipeError`` when its reader has left."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritten(error) from None


def unwritten(error: OSError) -> IroshError:
    """That output cannot be written, for another reason than that its reader has left."""
    code = ErrorCode.DISK_FULL if error.errno in _FULL else ErrorCode.FILE
    return IroshError(code, f"cannot write the output: {system_message(error)}")
