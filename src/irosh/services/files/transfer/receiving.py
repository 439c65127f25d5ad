"""The side of a transfer to which the files come: checks every name and hash, and puts files in place when whole."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from blake3 import blake3

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.access import Access, FolderHandle
from irosh.services.files.transfer.destination import Folders, find_places
from irosh.services.files.transfer.frames import (
    BLOCK,
    HOLE,
    Abort,
    Answer,
    Answers,
    Arrived,
    Begin,
    End,
    Failure,
    Fatal,
    Folder,
    Kind,
    Link,
    Offer,
    Offers,
    Order,
    Pack,
    Problem,
    Result,
    SmallFile,
    Source,
    Sources,
    Totals,
    checked_parts,
    decode,
)
from irosh.services.files.transfer.observing import Observer, shown_name
from irosh.services.files.transfer.partial import (
    PREFIX,
    Partial,
    WriteOut,
    find_partial,
    open_partial,
    partials_in,
    remove_stale,
)
from irosh.services.files.transfer.scanning import file_error, reason
from irosh.services.files.transfer.sending import hash_zeros
from irosh.services.files.transfer.settling import Settled, Settler
from irosh.services.files.transfer.wire import FrameSocket

MAX_FOLDERS = 1_000_000
_MOST_FOUND = 64  # partial files that are held open until their rest comes
_ARRIVED_EVERY = 1.0
_PATIENCE = 5.0
_PERMISSIONS = 0o777  # what lets a file run as its owner is not taken over from another machine
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ZEROS = bytes(BLOCK)


@dataclass(slots=True)
class _Incoming:
    """The file whose content comes now. ``partial`` None: it cannot be stored, and what comes is dropped."""

    begin: Begin
    partial: Partial | None
    offset: int = 0
    hasher: blake3 | None = None
    write_out: WriteOut | None = None


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
        self._order = order
        self._destination = destination
        self._observer = observer
        self._check = check
        self._sources: list[Source] = []
        self._folders = Folders([])
        self._made: list[Folder] = []
        self._found: dict[int, tuple[Partial, blake3]] = {}
        self._left: dict[FolderHandle, set[bytes]] = {}
        self._incoming: _Incoming | None = None
        self._counts = threading.Lock()
        self._files = self._size = self._unchanged = self._failed = 0
        self._told = time.monotonic()
        self._umask = _umask()
        # The transfer that is to be gone on with may only just notice that it was cut off.
        self._patient_until = time.monotonic() + _PATIENCE
        self._settler = Settler(sync=order.sync, done=self._settled, failed=self._not_settled)

    def run(self) -> Result:
        """Receive all. ``IroshError``: what the sender says, file-error, disk-full, connection-lost, …"""
        handlers: dict[Kind, Callable[[memoryview], None]] = {
            Kind.SOURCES: self._announced,
            Kind.FOLDER: self._folder,
            Kind.LINK: self._link,
            Kind.PACK: self._pack,
            Kind.OFFERS: self._offers,
            Kind.BEGIN: self._begin,
            Kind.DATA: self._data,
            Kind.HOLE: self._hole,
            Kind.END: self._end,
            Kind.ABORT: self._abort,
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
                    raise IroshError(ErrorCode.PROTOCOL, f"the sender of files sent a {kind.name} frame")
                handler(payload)
            self._settler.wait()
            self._finish_folders()
        finally:
            self._keep_partials()
            self._settler.close()
        result = Result(self._files, self._size, self._unchanged, self._failed)
        self._wire.send(Kind.RESULT, result)
        return result

    # -- folders and links

    def _announced(self, payload: memoryview) -> None:
        sources = decode(payload, Sources).sources
        if self._sources or not sources:
            raise IroshError(ErrorCode.PROTOCOL, "the sender of files announces nothing, or twice")
        for source in sources:
            if source.name:
                checked_parts([source.name])
        self._check(sources)
        self._sources = sources
        self._folders = Folders(find_places(self._access, self._destination, sources))

    def _locate(self, source: int, parts: list[bytes]) -> tuple[FolderHandle, bytes]:
        return self._folders.locate(source, checked_parts(parts))

    def _folder(self, payload: memoryview) -> None:
        folder = decode(payload, Folder)
        if len(self._made) >= MAX_FOLDERS:
            raise IroshError(ErrorCode.PROTOCOL, f"more than {MAX_FOLDERS} folders")
        try:
            parent, name = self._locate(folder.source, folder.parts)
            if not name:
                return  # the destination itself, which keeps its own times and permissions
            fresh = True
            try:
                os.mkdir(name, 0o700, dir_fd=parent.descriptor)
            except FileExistsError:
                fresh = False
            self._folders.made(folder.source, tuple(folder.parts), parent.folder(name, fresh=fresh))
            self._made.append(folder)
        except OSError as error:
            self._failure(None, folder.source, folder.parts, error)

    def _finish_folders(self) -> None:
        """Times and permissions, which would not have lasted, or let nothing in, before."""
        for folder in reversed(self._made):
            try:
                parent, name = self._locate(folder.source, folder.parts)
                handle = parent.folder(name)
                inherited = os.fstat(handle.descriptor).st_mode & stat.S_ISGID
                os.fchmod(handle.descriptor, self._mode(folder.mode, 0o777) | inherited)
                if self._order.preserve:
                    os.utime(handle.descriptor, ns=(folder.mtime, folder.mtime))
            except OSError as error:
                self._failure(None, folder.source, folder.parts, error)

    def _link(self, payload: memoryview) -> None:
        link = decode(payload, Link)
        hidden = PREFIX + os.urandom(16).hex().encode()
        try:
            parent, name = self._locate(link.source, link.parts)
            _check_target(parent, name)
            if self._access.confined and _leads_up(link.target):
                # It leads nobody out who comes this way, but it would those who use the tree otherwise.
                raise PermissionError(errno.EACCES, "a link that leads out of its folder")
            os.symlink(link.target, hidden, dir_fd=parent.descriptor)
            try:
                os.rename(hidden, name, src_dir_fd=parent.descriptor, dst_dir_fd=parent.descriptor)
            except OSError:
                os.unlink(hidden, dir_fd=parent.descriptor)
                raise
            if self._order.preserve:
                with contextlib.suppress(OSError, NotImplementedError):
                    os.utime(name, ns=(link.mtime, link.mtime), dir_fd=parent.descriptor, follow_symlinks=False)
        except (OSError, ValueError) as error:
            self._failure(None, link.source, link.parts, error)

    # -- small files

    def _pack(self, payload: memoryview) -> None:
        size = 0
        files = decode(payload, Pack).files
        for file in files:
            size += len(file.data)
            self._small(file)
        self._observer.moved(size, len(files))
        self._sign_of_life()

    def _small(self, file: SmallFile) -> None:
        size = len(file.data)
        if blake3(file.data).digest() != file.digest:
            self._failure(None, file.source, file.parts, "arrived damaged")
            return
        mode = self._mode(file.mode, 0o666)
        try:
            parent, name = self._locate(file.source, file.parts)
            _check_target(parent, name)
            partial = open_partial(parent, name, size, file.mtime, mode=mode)
        except OSError as error:
            self._failure(None, file.source, file.parts, error)
            return
        try:
            if partial.found:
                os.ftruncate(partial.descriptor, 0)
            _write(partial.descriptor, file.data, 0)
        except OSError as error:
            partial.discard()
            self._failure(None, file.source, file.parts, error)
            return
        wanted = mode if mode & self._umask or partial.found else None
        self._settle(partial, file.source, file.parts, size, wanted, file.mtime)

    # -- large files

    def _offers(self, payload: memoryview) -> None:
        self._wire.send(Kind.ANSWERS, Answers([self._answer(offer) for offer in decode(payload, Offers).offers]))

    def _answer(self, offer: Offer) -> Answer:
        try:
            parent, name = self._locate(offer.source, offer.parts)
            if parent.fresh:
                return Answer(offer.number)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=parent.descriptor, follow_symlinks=False)
                same = status.st_size == offer.size and status.st_mtime_ns == offer.mtime
                if same and stat.S_ISREG(status.st_mode):
                    self._unchanged += 1
                    self._observer.moved(offer.size, 1)
                    return Answer(offer.number, complete=True)
            if len(self._found) >= _MOST_FOUND or offer.number in self._found:
                return Answer(offer.number)
            partial = find_partial(parent, name, offer.size, offer.mtime, until=self._patient_until)
        except OSError:
            return Answer(offer.number)  # what is wrong is told when the file comes
        if partial is None:
            return Answer(offer.number)
        hasher = blake3()
        partial.found = _hash_file(partial.descriptor, min(partial.found, offer.size), hasher)
        self._found[offer.number] = (partial, hasher)
        return Answer(offer.number, have=partial.found, digest=hasher.digest())

    def _begin(self, payload: memoryview) -> None:
        if self._incoming is not None:
            raise IroshError(ErrorCode.PROTOCOL, "the sender of files begins one inside another")
        begin = decode(payload, Begin)
        self._incoming = incoming = _Incoming(begin, None)
        found = self._found.pop(begin.number, None)
        try:
            if found is not None:
                partial, hasher = found
            else:
                parent, name = self._locate(begin.source, begin.parts)
                _check_target(parent, name)
                partial, hasher = open_partial(parent, name, begin.size, begin.mtime), blake3()
            incoming.partial = partial
            if begin.offset != (partial.found if found is not None else 0):
                if begin.offset:
                    raise IroshError(ErrorCode.PROTOCOL, "the sender of files goes on where nothing ended")
                hasher = blake3()
            os.ftruncate(partial.descriptor, begin.offset)
            self._remove_stale(partial)
        except OSError as error:
            self._give_up(error)
            return
        incoming.offset, incoming.hasher = begin.offset, hasher
        incoming.write_out = WriteOut(partial.descriptor) if self._order.sync else None
        self._observer.file(shown_name(self._sources, begin.source, begin.parts))
        self._observer.moved(begin.offset)

    def _remove_stale(self, partial: Partial) -> None:
        folder = partial.folder
        if not folder.fresh:
            if folder not in self._left:
                self._left = {folder: partials_in(folder)}  # files come folder by folder
            remove_stale(folder, partial.name, partial.hidden, self._left[folder])

    def _data(self, payload: memoryview) -> None:
        incoming = self._content(len(payload))
        if incoming.partial is None or incoming.hasher is None:
            return
        incoming.hasher.update(payload)
        try:
            if not (incoming.begin.sparse and payload == _ZEROS[: len(payload)]):
                _write(incoming.partial.descriptor, payload, incoming.offset)
        except OSError as error:
            self._give_up(error)
            return
        incoming.offset += len(payload)
        if incoming.write_out is not None:
            incoming.write_out.reached(incoming.offset)
        self._observer.moved(len(payload))
        self._sign_of_life()

    def _hole(self, payload: memoryview) -> None:
        if len(payload) != HOLE.size:
            raise IroshError(ErrorCode.PROTOCOL, "malformed HOLE frame")
        (size,) = HOLE.unpack(payload)
        incoming = self._content(size)
        if incoming.partial is None or incoming.hasher is None:
            return
        hash_zeros(incoming.hasher, size)
        incoming.offset += size
        self._observer.moved(size)

    def _content(self, size: int) -> _Incoming:
        incoming = self._incoming
        if incoming is None or incoming.offset + size > incoming.begin.size:
            raise IroshError(ErrorCode.PROTOCOL, "the sender of files sends more than it has announced")
        return incoming

    def _end(self, payload: memoryview) -> None:
        end = decode(payload, End)
        incoming = self._content(0)
        self._incoming = None
        begin, partial = incoming.begin, incoming.partial
        if partial is None or incoming.hasher is None:
            return
        if incoming.offset != begin.size or incoming.hasher.digest() != end.digest:
            partial.discard()
            self._failure(begin.number, begin.source, begin.parts, "arrived damaged")
            return
        try:
            os.ftruncate(partial.descriptor, begin.size)  # the last of it may have been a hole
        except OSError as error:
            partial.discard()
            self._failure(begin.number, begin.source, begin.parts, error)
            return
        self._observer.moved(0, 1)
        mode = self._mode(begin.mode, 0o666)
        self._settle(partial, begin.source, begin.parts, begin.size, mode, begin.mtime)

    def _abort(self, payload: memoryview) -> None:
        decode(payload, Abort)
        incoming = self._content(0)
        self._incoming = None
        if incoming.partial is not None:
            incoming.partial.discard()

    def _give_up(self, error: OSError) -> None:
        """The file that comes cannot be stored: what follows of it is dropped. A full disk ends all."""
        incoming = self._incoming
        assert incoming is not None
        partial, incoming.partial = incoming.partial, None
        begin = incoming.begin
        if partial is not None:
            if error.errno in _FULL:
                partial.close()
            else:
                partial.discard()
        self._failure(begin.number, begin.source, begin.parts, error)

    def _keep_partials(self) -> None:
        """What has arrived in part waits for another time."""
        held = [partial for partial, _ in self._found.values()]
        if self._incoming is not None and self._incoming.partial is not None:
            held.append(self._incoming.partial)
            self._incoming.partial = None
        self._found = {}
        for partial in held:
            if os.fstat(partial.descriptor).st_size:
                partial.close()
            else:
                partial.discard()

    # -- what both kinds share

    def _settle(
        self, partial: Partial, source: int, parts: list[bytes], size: int, mode: int | None, mtime: int
    ) -> None:
        self._settler.add(Settled(partial, source, parts, size, mode, mtime if self._order.preserve else None))

    def _settled(self, file: Settled) -> None:
        with self._counts:
            self._files += 1
            self._size += file.size

    def _not_settled(self, file: Settled, error: OSError) -> None:
        self._report(None, file.source, file.parts, reason(error))

    def _mode(self, mode: int, without: int) -> int:
        """The permissions of a new thing: the source's own, or ``without`` them what the umask leaves."""
        if self._order.preserve:
            return mode & _PERMISSIONS
        return (without | mode & 0o111) & ~self._umask

    def _failure(self, number: int | None, source: int, parts: list[bytes], error: Exception | str) -> None:
        """One thing is not stored, and the others go on; but a full disk ends all. ``IroshError`` (disk-full)."""
        if isinstance(error, OSError):
            if error.errno in _FULL:
                raise file_error(shown_name(self._sources, source, parts), error)
            error = reason(error)
        self._report(number, source, parts, str(error))

    def _report(self, number: int | None, source: int, parts: list[bytes], message: str) -> None:
        with self._counts:
            self._failed += 1
        self._observer.problem(shown_name(self._sources, source, parts), message, harmless=False)
        self._wire.send(Kind.FAILURE, Failure(number, source, parts, message[:2000]))

    def _problem(self, payload: memoryview) -> None:
        problem = decode(payload, Problem)
        name = shown_name(self._sources, problem.source, problem.parts)
        self._observer.problem(name, problem.message, harmless=problem.harmless)

    def _totals(self, payload: memoryview) -> None:
        totals = decode(payload, Totals)
        self._observer.totals(totals.files, totals.size, complete=totals.complete)

    def _sign_of_life(self) -> None:
        now = time.monotonic()
        if now - self._told > _ARRIVED_EVERY:
            self._told = now
            self._wire.send(Kind.ARRIVED, Arrived(self._files))


def _fatal(payload: memoryview) -> None:
    raise decode(payload, Fatal).error()


def _check_target(folder: FolderHandle, name: bytes) -> None:
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


def _leads_up(target: bytes) -> bool:
    return target.startswith(b"/") or b".." in target.split(b"/")


def _write(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    written = os.pwrite(descriptor, data, offset)
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)


def _hash_file(descriptor: int, size: int, hasher: blake3) -> int:
    """Hash the first ``size`` bytes; how many there were."""
    buffer = memoryview(bytearray(BLOCK))
    offset = 0
    while offset < size:
        count = os.preadv(descriptor, [buffer[: min(BLOCK, size - offset)]], offset)
        if not count:
            break
        hasher.update(buffer[:count])
        offset += count
    return offset


def _umask() -> int:
    present = os.umask(0o077)
    os.umask(present)
    return present
