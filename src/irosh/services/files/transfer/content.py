"""Large files on the receiving side: one at a time, in pieces, written where an earlier transfer ended if one did."""

from __future__ import annotations

import os
from dataclasses import dataclass

from blake3 import blake3

from irosh.services.files.transfer.frames import HOLE, Abort, Begin, End, decode
from irosh.services.files.transfer.hashing import hash_zeros, is_zeros
from irosh.services.files.transfer.partial import Partial, WriteOut, open_partial
from irosh.services.files.transfer.resuming import Resuming
from irosh.services.files.transfer.storing import FULL, Store, check_target, protocol_error, write_at


@dataclass(slots=True)
class _Incoming:
    """The file whose content comes now. ``partial`` None: it cannot be stored, and what comes is dropped."""

    begin: Begin
    partial: Partial | None
    offset: int = 0
    hasher: blake3 | None = None
    write_out: WriteOut | None = None


class Content:
    """Takes the frames from ``BEGIN`` to ``END`` or ``ABORT``."""

    def __init__(self, store: Store, resuming: Resuming) -> None:
        self._store = store
        self._resuming = resuming
        self._incoming: _Incoming | None = None

    def begin(self, payload: memoryview) -> None:
        if self._incoming is not None:
            raise protocol_error("begins one inside another")
        begin = decode(payload, Begin)
        store = self._store
        self._incoming = incoming = _Incoming(begin, None)
        found = self._resuming.take(begin.number)
        try:
            if found is not None:
                partial, hasher = found
            else:
                parent, name = store.locate(begin.source, begin.parts)
                check_target(parent, name)
                partial, hasher = open_partial(parent, name, begin.size, begin.mtime), blake3()
            incoming.partial = partial
            if begin.offset != (partial.found if found is not None else 0):
                if begin.offset:
                    raise protocol_error("goes on where nothing ended")
                hasher = blake3()
            os.ftruncate(partial.descriptor, begin.offset)
            store.leftovers.replaced(partial.folder, partial.name, partial.hidden)
        except OSError as error:
            self._give_up(error)
            return
        incoming.offset, incoming.hasher = begin.offset, hasher
        incoming.write_out = WriteOut(partial.descriptor) if store.order.sync else None
        store.observer.file(store.shown(begin.source, begin.parts))
        store.observer.moved(begin.offset)

    def data(self, payload: memoryview) -> None:
        incoming = self._expected(len(payload))
        if incoming.partial is None or incoming.hasher is None:
            return
        incoming.hasher.update(payload)
        try:
            if not (incoming.begin.sparse and is_zeros(payload)):
                write_at(incoming.partial.descriptor, payload, incoming.offset)
        except OSError as error:
            self._give_up(error)
            return
        incoming.offset += len(payload)
        if incoming.write_out is not None:
            incoming.write_out.reached(incoming.offset)
        self._store.observer.moved(len(payload))
        self._store.sign_of_life()

    def hole(self, payload: memoryview) -> None:
        if len(payload) != HOLE.size:
            raise protocol_error("sends a malformed HOLE frame")
        (size,) = HOLE.unpack(payload)
        incoming = self._expected(size)
        if incoming.partial is None or incoming.hasher is None:
            return
        hash_zeros(incoming.hasher, size)
        incoming.offset += size
        self._store.observer.moved(size)

    def end(self, payload: memoryview) -> None:
        end = decode(payload, End)
        incoming = self._expected(0)
        self._incoming = None
        store, begin, partial = self._store, incoming.begin, incoming.partial
        if partial is None or incoming.hasher is None:
            return
        if incoming.offset != begin.size or incoming.hasher.digest() != end.digest:
            partial.discard()
            store.failure(begin.number, begin.source, begin.parts, "arrived damaged")
            return
        try:
            os.ftruncate(partial.descriptor, begin.size)  # the last of it may have been a hole
        except OSError as error:
            partial.discard()
            store.failure(begin.number, begin.source, begin.parts, error)
            return
        store.observer.moved(0, 1)
        store.settle(partial, begin.source, begin.parts, begin.size, store.mode(begin.mode, 0o666), begin.mtime)

    def abort(self, payload: memoryview) -> None:
        decode(payload, Abort)
        incoming = self._expected(0)
        self._incoming = None
        if incoming.partial is not None:
            incoming.partial.discard()

    def close(self) -> None:
        """What has arrived in part waits for another time."""
        if self._incoming is not None and self._incoming.partial is not None:
            self._incoming.partial.leave()
            self._incoming.partial = None

    def _expected(self, size: int) -> _Incoming:
        incoming = self._incoming
        if incoming is None or incoming.offset + size > incoming.begin.size:
            raise protocol_error("sends more than it has announced")
        return incoming

    def _give_up(self, error: OSError) -> None:
        """The file that comes cannot be stored: what follows of it is dropped. A full disk ends all."""
        incoming = self._incoming
        assert incoming is not None
        partial, incoming.partial = incoming.partial, None
        begin = incoming.begin
        if partial is not None:
            if error.errno in FULL:
                partial.close()
            else:
                partial.discard()
        self._store.failure(begin.number, begin.source, begin.parts, error)
