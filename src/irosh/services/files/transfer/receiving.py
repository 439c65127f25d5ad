"""The side of a transfer to which the files come: checks every name and hash, and puts files in place when whole."""

from __future__ import annotations

from collections.abc import Callable

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.access import Access
from irosh.services.files.transfer.content import Content
from irosh.services.files.transfer.destination import Folders, find_places
from irosh.services.files.transfer.frames import (
    Fatal,
    Kind,
    Order,
    Problem,
    Result,
    Source,
    Sources,
    Totals,
    checked_parts,
    decode,
)
from irosh.services.files.transfer.observing import Observer
from irosh.services.files.transfer.packs import store_pack
from irosh.services.files.transfer.resuming import Resuming
from irosh.services.files.transfer.storing import Store, protocol_error
from irosh.services.files.transfer.structure import Structure
from irosh.services.files.transfer.wire import FrameSocket


class Receiver:
    """Stores what comes at ``destination``, as ``order`` says.

    ``check``: looks at what the sender announces, and raises when that was not asked for.
    """

    def __init__(
        self,
        wire: FrameSocket,
        access: Access,
        order: Order,
        destination: bytes,
        observer: Observer,
        check: Callable[[list[Source]], None],
    ) -> None:
        self._wire = wire
        self._access = access
        self._destination = destination
        self._observer = observer
        self._check = check
        self._store = Store(wire, order, observer)
        self._structure = Structure(self._store, confined=access.confined)
        self._resuming = Resuming(self._store)
        self._content = Content(self._store, self._resuming)

    def run(self) -> Result:
        """Receive all. ``IroshError``: what the sender says, file-error, disk-full, connection-lost, …"""
        store = self._store
        handlers: dict[Kind, Callable[[memoryview], None]] = {
            Kind.SOURCES: self._announced,
            Kind.FOLDER: self._structure.folder,
            Kind.LINK: self._structure.link,
            Kind.PACK: lambda payload: store_pack(store, payload),
            Kind.OFFERS: lambda payload: self._wire.send(Kind.ANSWERS, self._resuming.answers(payload)),
            Kind.SAME: self._resuming.same,
            Kind.BEGIN: self._content.begin,
            Kind.DATA: self._content.data,
            Kind.HOLE: self._content.hole,
            Kind.END: self._content.end,
            Kind.ABORT: self._content.abort,
            Kind.PROBLEM: self._problem,
            Kind.TOTALS: self._totals,
            Kind.FATAL: _fatal,
        }
        try:
            while True:
                frame = self._wire.receive()
                if frame is None:
                    raise IroshError(
                        ErrorCode.CONNECTION_LOST, "the transfer was cut off", "--resume goes on where it ended"
                    )
                kind, payload = frame
                if kind is Kind.FINISH:
                    break
                handler = handlers.get(kind)
                if handler is None:
                    raise protocol_error(f"sent a {kind.name} frame")
                handler(payload)
            store.wait()
            self._structure.finish()
        finally:
            self._content.close()
            self._resuming.close()
            store.close()
        result = store.result()
        self._wire.send(Kind.RESULT, result)
        return result

    def _announced(self, payload: memoryview) -> None:
        sources = decode(payload, Sources).sources
        if self._store.sources or not sources:
            raise protocol_error("announces nothing, or twice")
        for source in sources:
            if source.name:
                checked_parts([source.name])
        self._check(sources)
        self._store.sources = sources
        self._store.folders = Folders(find_places(self._access, self._destination, sources))

    def _problem(self, payload: memoryview) -> None:
        problem = decode(payload, Problem)
        name = self._store.shown(problem.source, problem.parts)
        self._observer.problem(name, problem.message, harmless=problem.harmless)

    def _totals(self, payload: memoryview) -> None:
        totals = decode(payload, Totals)
        self._observer.totals(totals.files, totals.size, complete=totals.complete)


def _fatal(payload: memoryview) -> None:
    raise decode(payload, Fatal).error()
