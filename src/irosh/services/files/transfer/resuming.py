"""What is there already of files that are offered: whole ones that may be the same, and parts to go on with."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

from blake3 import blake3

from irosh.services.files.transfer.access import FolderHandle
from irosh.services.files.transfer.frames import Answer, Answers, Offer, Offers, Same, decode, time_of
from irosh.services.files.transfer.hashing import hash_file
from irosh.services.files.transfer.partial import Partial, find_partial
from irosh.services.files.transfer.storing import Store

_MOST_FOUND = 64  # partial files that are held open until their rest comes
_PATIENCE = 5.0
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Resuming:
    """Answers offers, and keeps the partial files that were found until they are gone on with."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[int, tuple[Partial, blake3]] = {}
        # The transfer that is to be gone on with may only just notice that it was cut off.
        self._patient_until = time.monotonic() + _PATIENCE

    def answers(self, payload: memoryview) -> Answers:
        """What to answer to offers."""
        return Answers([self._answer(offer) for offer in decode(payload, Offers).offers])

    def take(self, number: int) -> tuple[Partial, blake3] | None:
        """What was found of an offered file, and the hash of it."""
        return self._found.pop(number, None)

    def same(self, payload: memoryview) -> None:
        """The sender has found the hashes of a file to be the same."""
        same = decode(payload, Same)
        store = self._store
        try:
            folder, name = store.locate(same.source, same.parts)
            if store.order.preserve:
                _take_over(folder, name, store.mode(same.mode, 0o666), same.mtime)
            store.leftovers.replaced(folder, name)
        except OSError as error:
            store.failure(None, same.source, same.parts, error)
            return
        store.unchanged(same.size)

    def close(self) -> None:
        """What was found and not gone on with waits for another time."""
        for partial, _ in self._found.values():
            partial.leave()
        self._found = {}

    def _answer(self, offer: Offer) -> Answer:
        try:
            folder, name = self._store.locate(offer.source, offer.parts)
            if folder.fresh:
                return Answer(offer.number)
            there = _regular(folder, name)
            same_size = there is not None and there.st_size == offer.size
            same_time = there is not None and time_of(there) == offer.mtime
            if same_size and same_time and self._store.order.quick:
                self._store.leftovers.replaced(folder, name)
                self._store.unchanged(offer.size)
                return Answer(offer.number, complete=True)
            if not (same_size and same_time) and (answer := self._partial(folder, name, offer)) is not None:
                return answer
            if same_size and (answer := self._in_place(folder, name, offer)) is not None:
                return answer
        except OSError:
            pass  # what is wrong is told when the file comes
        return Answer(offer.number)

    def _partial(self, folder: FolderHandle, name: bytes, offer: Offer) -> Answer | None:
        if len(self._found) >= _MOST_FOUND or offer.number in self._found:
            return None
        partial = find_partial(folder, name, offer.size, offer.mtime, until=self._patient_until)
        if partial is None:
            return None
        hasher = blake3()
        self._found[offer.number] = (partial, hasher)
        size = min(partial.found, offer.size)
        partial.found = hash_file(partial.descriptor, size, hasher, self._store.sign_of_life)
        return Answer(offer.number, have=partial.found, digest=hasher.digest())

    def _in_place(self, folder: FolderHandle, name: bytes, offer: Offer) -> Answer | None:
        """The hash of a file that has the size of the one offered."""
        descriptor = os.open(name, _LOOK, dir_fd=folder.descriptor)
        try:
            hasher = blake3()
            if hash_file(descriptor, offer.size, hasher, self._store.sign_of_life) == offer.size:
                return Answer(offer.number, have=offer.size, digest=hasher.digest(), in_place=True)
        finally:
            os.close(descriptor)
        return None


def _regular(folder: FolderHandle, name: bytes) -> os.stat_result | None:
    """What is there, if it is a file and no link to one. ``OSError``."""
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            return status
    return None


def _take_over(folder: FolderHandle, name: bytes, mode: int, mtime: int) -> None:
    """Permissions and time of the source, where they differ. ``OSError``."""
    descriptor = os.open(name, _LOOK, dir_fd=folder.descriptor)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if stat.S_IMODE(status.st_mode) != mode:
            os.fchmod(descriptor, mode)
        if time_of(status) != mtime:
            os.utime(descriptor, ns=(mtime, mtime))
    finally:
        os.close(descriptor)
