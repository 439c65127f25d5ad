"""The last steps of files that have arrived whole: times and permissions, to the disk, to their final names.

In a thread of its own, many files at a time, so that neither the network waits for the disk nor each file for the
one before it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Queue
from typing import TYPE_CHECKING

from irosh.services.files.transfer.partial import Partial

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

_BATCH_FILES, _BATCH_BYTES = 64, 4 * 1024 * 1024
_BATCHES = 3  # waiting; all their files are open
_WRITERS = 4


@dataclass(slots=True)
class Settled:
    """A file that has arrived whole; ``mode`` and ``mtime`` None leave what there is."""

    partial: Partial
    source: int
    parts: list[bytes]
    size: int
    mode: int | None
    mtime: int | None


class Settler:
    """Takes files by :meth:`add`. ``done`` or ``failed`` is called for each, in the settler's thread."""

    def __init__(
        self, *, sync: bool, done: Callable[[Settled], None], failed: Callable[[Settled, OSError], None]
    ) -> None:
        self._sync = sync
        self._done = done
        self._failed = failed
        self._batch: list[Settled] = []
        self._size = 0
        self._queue: Queue[list[Settled] | None] = Queue(_BATCHES)
        self._pool: ThreadPoolExecutor | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="transfer settle", daemon=True)
        self._thread.start()

    def add(self, file: Settled) -> None:
        """Settle ``file`` soon."""
        self._batch.append(file)
        self._size += file.size
        if len(self._batch) >= _BATCH_FILES or self._size >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Settle now what was added."""
        if self._batch:
            self._queue.put(self._batch)
            self._batch, self._size = [], 0

    def wait(self) -> None:
        """Until all that was added is settled. Raises what ``done`` or ``failed`` did."""
        self.flush()
        self._queue.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Settle what there is, and end."""
        self.flush()
        self._queue.put(None)
        self._thread.join()
        if self._pool is not None:
            self._pool.shutdown()

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                self._settle(batch)
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                self._error = self._error or error
            finally:
                self._queue.task_done()

    def _settle(self, batch: list[Settled]) -> None:
        faults = self._written_out(batch)
        for file, fault in zip(batch, faults, strict=True):
            try:
                if fault is not None:
                    raise fault
                file.partial.place()
            except OSError as error:
                file.partial.discard()
                self._failed(file, error)
            else:
                file.partial.close()
                self._done(file)

    def _written_out(self, batch: Sequence[Settled]) -> list[OSError | None]:
        """Have all of it on the disk; what went wrong, for each."""
        if not self._sync or len(batch) < _WRITERS:
            return [self._finished(file) for file in batch]
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self._pool = ThreadPoolExecutor(_WRITERS, "transfer sync")
        # The disk takes several at once for the price of one; one task for each file would cost more than it.
        slices = [batch[begin::_WRITERS] for begin in range(_WRITERS)]
        faults: list[OSError | None] = [None] * len(batch)
        for begin, part in enumerate(self._pool.map(lambda files: [self._finished(file) for file in files], slices)):
            faults[begin::_WRITERS] = part
        return faults

    def _finished(self, file: Settled) -> OSError | None:
        descriptor = file.partial.descriptor
        try:
            if file.mode is not None:
                os.fchmod(descriptor, file.mode)
            if file.mtime is not None:
                with contextlib.suppress(OSError):  # a file system that knows no such time
                    os.utime(descriptor, ns=(file.mtime, file.mtime))
            if self._sync:
                os.fsync(descriptor)
        except OSError as error:
            return error
        return None
