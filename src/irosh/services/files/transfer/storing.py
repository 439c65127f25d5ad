"""What all parts of the receiving side share: where things go, with what permissions, what fails, and the count."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.access import FolderHandle
from irosh.services.files.transfer.destination import Folders
from irosh.services.files.transfer.frames import Arrived, Failure, Kind, Order, Result, Source, checked_parts
from irosh.services.files.transfer.leftovers import Leftovers
from irosh.services.files.transfer.observing import Observer, shown_name
from irosh.services.files.transfer.partial import Partial
from irosh.services.files.transfer.scanning import file_error, reason
from irosh.services.files.transfer.settling import Settled, Settler
from irosh.services.files.transfer.wire import FrameSocket

FULL = (errno.ENOSPC, errno.EDQUOT)
_ARRIVED_EVERY = 1.0
_PERMISSIONS = 0o777  # what lets a file run as its owner is not taken over from another machine


class Store:
    """One transfer's files as they are stored. ``sources`` and ``folders`` are set once the sender has announced."""

    def __init__(self, wire: FrameSocket, order: Order, observer: Observer) -> None:
        self.order = order
        self.observer = observer
        self.sources: list[Source] = []
        self.folders = Folders([])
        self.leftovers = Leftovers()
        self.umask = _umask()
        self._wire = wire
        self._counts = threading.Lock()
        self._files = self._size = self._unchanged = self._failed = 0
        self._told = time.monotonic()
        self._settler = Settler(sync=order.sync, done=self._settled, failed=self._not_settled)

    def locate(self, source: int, parts: list[bytes]) -> tuple[FolderHandle, bytes]:
        """The folder in which something belongs, and its name there. ``OSError``; ``IroshError`` (protocol-error)."""
        return self.folders.locate(source, checked_parts(parts))

    def shown(self, source: int, parts: list[bytes]) -> bytes:
        """What a thing is called towards people."""
        return shown_name(self.sources, source, parts)

    def mode(self, mode: int, without: int) -> int:
        """The permissions of a new thing: the source's own, or ``without`` them what the umask leaves."""
        if self.order.preserve:
            return mode & _PERMISSIONS
        return (without | mode & 0o111) & ~self.umask

    # -- what became of it

    def settle(
        self, partial: Partial, source: int, parts: list[bytes], size: int, mode: int | None, mtime: int
    ) -> None:
        """``partial`` has arrived whole: soon it is in place."""
        self._settler.add(Settled(partial, source, parts, size, mode, mtime if self.order.preserve else None))

    def unchanged(self, size: int) -> None:
        """A file was in place before."""
        self._unchanged += 1
        self.observer.moved(size, 1)

    def failure(self, number: int | None, source: int, parts: list[bytes], error: Exception | str) -> None:
        """One thing is not stored, and the others go on; but a full disk ends all. ``IroshError`` (disk-full)."""
        if isinstance(error, OSError):
            if error.errno in FULL:
                raise file_error(self.shown(source, parts), error)
            error = reason(error)
        self._report(number, source, parts, str(error))

    def sign_of_life(self) -> None:
        """Now and then the sender hears how much has arrived."""
        now = time.monotonic()
        if now - self._told > _ARRIVED_EVERY:
            self._told = now
            self._wire.send(Kind.ARRIVED, Arrived(self._files))

    def wait(self) -> None:
        """Until all that was to be settled is. Raises what went wrong with telling of it."""
        self._settler.wait()

    def close(self) -> None:
        """Settle what there is, and end."""
        self._settler.close()

    def result(self) -> Result:
        """The count."""
        return Result(self._files, self._size, self._unchanged, self._failed)

    def _settled(self, file: Settled) -> None:
        with self._counts:
            self._files += 1
            self._size += file.size

    def _not_settled(self, file: Settled, error: OSError) -> None:
        self._report(None, file.source, file.parts, reason(error))

    def _report(self, number: int | None, source: int, parts: list[bytes], message: str) -> None:
        with self._counts:
            self._failed += 1
        self.observer.problem(self.shown(source, parts), message, harmless=False)
        self._wire.send(Kind.FAILURE, Failure(number, source, parts, message[:2000]))


def check_target(folder: FolderHandle, name: bytes) -> None:
    """``OSError`` when something is there that a file must not replace."""
    if not name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if folder.fresh:
        return
    try:
        mode = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """All of ``data``. ``OSError``."""
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)


def protocol_error(what: str) -> IroshError:
    """The sender of files does ``what`` nobody may do."""
    return IroshError(ErrorCode.PROTOCOL, f"the sender of files {what}")


def _umask() -> int:
    present = os.umask(0o077)
    os.umask(present)
    return present
