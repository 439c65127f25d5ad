"""Small files on the receiving side: whole, many in one frame."""

from __future__ import annotations

import os

from blake3 import blake3

from irosh.services.files.transfer.frames import Pack, SmallFile, decode
from irosh.services.files.transfer.partial import open_whole
from irosh.services.files.transfer.storing import Store, check_target, write_at


def store_pack(store: Store, payload: memoryview) -> None:
    """Store the files of one frame."""
    size = 0
    files = decode(payload, Pack).files
    for file in files:
        size += len(file.data)
        _store_file(store, file)
    store.observer.moved(size, len(files))
    store.sign_of_life()


def _store_file(store: Store, file: SmallFile) -> None:
    size = len(file.data)
    if blake3(file.data).digest() != file.digest:
        store.failure(None, file.source, file.parts, "arrived damaged")
        return
    mode = store.mode(file.mode, 0o666)
    try:
        parent, name = store.locate(file.source, file.parts)
        check_target(parent, name)
        partial = open_whole(parent, name, mode)
        store.leftovers.replaced(parent, name, partial.hidden)
    except OSError as error:
        store.failure(None, file.source, file.parts, error)
        return
    try:
        if partial.found:
            os.ftruncate(partial.descriptor, 0)
        write_at(partial.descriptor, file.data, 0)
    except OSError as error:
        partial.discard()
        store.failure(None, file.source, file.parts, error)
        return
    wanted = mode if mode & store.umask or partial.found else None
    store.settle(partial, file.source, file.parts, size, wanted, file.mtime)
