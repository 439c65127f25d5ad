"""The lock that makes one process the node of a state directory.

It is flock(2) on a file, so the kernel releases it however the process ends, SIGKILL included; the file
itself stays.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.private_file import PRIVATE_MODE, file_error

# In seconds: how long a node that has just taken the lock may take to write its process id, and how long
# processes that only look at the lock may keep a new node waiting. Either takes microseconds, but for a
# stalled machine.
_PATIENCE = 2.0
_PAUSE = 0.001


class NodeLock:
    """The exclusive lock on the file at ``path``, a state directory's ``node.lock``; a context manager.

    While held, the file contains the holder's process id in decimal, for messages. Two locks on one file
    exclude each other within one process as well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, without waiting for another node to give it up.

        Raises:
            IroshError: ``STATE_IN_USE`` naming the process that has it; ``STATE_UNUSABLE`` or ``DISK_FULL``
                if the file cannot be written.
        """
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, PRIVATE_MODE)
            try:
                if not _lock_exclusively(descriptor):
                    raise _in_use(self.path.parent, _written_pid(descriptor))
                text = f"{os.getpid()}\n".encode()
                os.ftruncate(descriptor, os.pwrite(descriptor, text, 0))
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise file_error("lock", self.path, error) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up; harmless if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)  # and with it goes the lock

    def __enter__(self) -> NodeLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(path: Path) -> int | None:
    """The process id of the live node that holds the lock file at ``path``, or None if there is none.

    0 stands for a holder whose id is not to be had (it has been stopped between taking the lock and signing
    it). Nothing is changed or created, and a node that is starting at this moment is not turned away.

    Raises:
        IroshError: ``STATE_UNUSABLE`` if the file cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise file_error("read", path, error) from error
    try:
        deadline = time.monotonic() + _PATIENCE
        # Shared: any number of processes may look at once. Once granted it lasts until the close below.
        while not _try_lock(descriptor, fcntl.LOCK_SH):
            pid = _written_pid(descriptor)
            if pid or time.monotonic() > deadline:
                return pid
            time.sleep(_PAUSE)  # taken this instant for the first time, and not signed yet
        return None
    except OSError as error:
        raise file_error("read", path, error) from error
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_exclusively(descriptor: int) -> bool:
    """Whether the exclusive lock was got. Who only looks (:func:`holder`) is waited for, a node is not."""
    deadline = time.monotonic() + _PATIENCE
    while not _try_lock(descriptor, fcntl.LOCK_EX):
        # A shared lock beside the present ones is refused only where one of them is a node's.
        if not _try_lock(descriptor, fcntl.LOCK_SH) or time.monotonic() > deadline:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(_PAUSE)
    return True


def _written_pid(descriptor: int) -> int:
    """The process id in the lock file, or 0 if there is none."""
    line, newline, _ = os.pread(descriptor, 32, 0).partition(b"\n")
    return int(line) if newline and line.isdigit() else 0


def _in_use(state: Path, pid: int) -> IroshError:
    who = f"process {pid}" if pid else "another process"
    return IroshError(
        ErrorCode.STATE_IN_USE,
        f"the state directory {state} is in use by {who}",
        "stop that node first, or give this one a directory of its own with --state DIR",
    )
