"""Finding what is to be sent: what the paths name, and all below them. Runs in a thread, ahead of the sending."""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from queue import SimpleQueue

from irosh.core.errors import ErrorCode, IroshError, system_message
from irosh.core.wording import quoted
from irosh.services.files.transfer.access import Access
from irosh.services.files.transfer.frames import Order, Source

_BATCH = 256
_BATCHES = 256  # found and not yet sent
MAX_DEPTH = 400
MAX_EXPANDED = 65_536
"""Things that one order may name; the limit of :class:`Sources`."""
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class What(Enum):
    """The kinds of things that are found."""

    FOLDER = 1
    FILE = 2
    LINK = 3
    PROBLEM = 4
    HARMLESS = 5


@dataclass(slots=True)
class Found:
    """One thing. ``message`` says what is wrong with a problem."""

    what: What
    source: int
    parts: list[bytes]
    path: bytes
    status: os.stat_result | None = None
    target: bytes = b""
    message: str = ""


@dataclass(frozen=True)
class Start:
    """A source, and where it is."""

    source: Source
    path: bytes


def find_starts(access: Access, order: Order, *, patterns: bool) -> list[Start]:
    """What the paths of ``order`` name. ``patterns``: ``*``, ``?`` and ``[…]`` stand for names, as for a shell.

    ``IroshError`` (file-error) when one of them names nothing, or a folder without ``recursive``.
    """
    starts: list[Start] = []
    for number, path in enumerate(order.paths):
        for each in _expanded(access, path) if patterns else [path]:
            try:
                status = access.status(each)
            except OSError as error:
                raise file_error(each, error) from None
            folder = stat.S_ISDIR(status.st_mode)
            if folder and not order.recursive:
                raise IroshError(ErrorCode.FILE, f"{named(each)} is a folder", "-r takes folders with all below them")
            if len(starts) >= MAX_EXPANDED:
                raise IroshError(
                    ErrorCode.FILE, f"more than {MAX_EXPANDED} things are named", "name the folder they are in, with -r"
                )
            starts.append(Start(Source(number, source_name(each), folder), each))
    return starts


def source_name(path: bytes) -> bytes:
    """What a thing is called where it arrives; empty for ``.``, ``..`` and ``/``, of which only the contents go."""
    name = path.rstrip(b"/").rpartition(b"/")[2]
    return b"" if name in (b".", b"..", b"~") else name


def has_pattern(path: bytes) -> bool:
    """Whether ``path`` stands for several."""
    return any(character in path for character in b"*?[")


def _expanded(access: Access, path: bytes) -> list[bytes]:
    """What a pattern stands for, in order; as in a shell itself when that is nothing, or when it has no pattern."""
    if not has_pattern(path) or _exists(access, path):
        return [path]
    found = [b"/"] if path.startswith(b"/") else [b""]
    for segment in path.strip(b"/").split(b"/"):
        if has_pattern(segment):
            expanded = (each + name for each in found for name in _matching(access, each, segment))
        else:
            expanded = (each + segment for each in found if _exists(access, each + segment))
        # Folders that hold links to one another would make any number of paths.
        found = [each + b"/" for each in islice(expanded, MAX_EXPANDED)]
    return [each.rstrip(b"/") for each in found] or [path]


def _exists(access: Access, path: bytes) -> bool:
    try:
        access.status(path)
    except OSError:
        return False
    return True


def _matching(access: Access, folder: bytes, pattern: bytes) -> list[bytes]:
    try:
        descriptor = access.open_folder(folder or b".")
    except OSError:
        return []
    try:
        with os.scandir(descriptor) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
    finally:
        os.close(descriptor)
    return sorted(name for name in names if matches(name, pattern))


def matches(name: bytes, pattern: bytes) -> bool:
    """Whether a name is one that ``pattern`` stands for; hidden ones only if it begins with a dot itself."""
    if name.startswith(b".") and not pattern.startswith(b"."):
        return False
    return fnmatch.fnmatchcase(name, pattern)


class Scanner:
    """Walks the sources in a thread. Iterate over it once; ``files``, ``size`` and ``complete`` tell how far it is."""

    def __init__(self, access: Access, starts: list[Start], *, links: bool) -> None:
        self.files = 0
        self.size = 0
        self.complete = False
        self._access = access
        self._starts = starts
        self._links = links
        self._queue: SimpleQueue[list[Found] | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(_BATCHES)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="transfer scan", daemon=True)

    def __iter__(self) -> Iterator[Found]:
        self._thread.start()
        while True:
            batch = self._queue.get()
            if batch is None:
                return
            if isinstance(batch, BaseException):
                raise batch
            self._room.release()
            yield from batch

    def stop(self) -> None:
        """Look for nothing more."""
        self._stopped = True
        self._room.release()

    def _run(self) -> None:
        batch: list[Found] = []
        try:
            for found in self._all():
                batch.append(found)
                if len(batch) >= _BATCH:
                    self._room.acquire()
                    self._queue.put(batch)
                    batch = []
                if self._stopped:
                    return
            self.complete = True
            self._queue.put(batch)
            self._queue.put(None)
        except BaseException as error:  # noqa: BLE001 - raised by who iterates
            self._queue.put(error)

    def _all(self) -> Iterator[Found]:
        for position, start in enumerate(self._starts):
            try:
                status = self._access.status(start.path)
            except OSError as error:
                yield _problem(position, [], start.path, error)
                continue
            yield from self._thing(position, [], start.path, status, ())

    def _thing(
        self, source: int, parts: list[bytes], path: bytes, status: os.stat_result, above: tuple[tuple[int, int], ...]
    ) -> Iterator[Found]:
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            self.files += 1
            self.size += status.st_size
            yield Found(What.FILE, source, parts, path, status)
        elif kind == stat.S_IFDIR:
            here = (status.st_dev, status.st_ino)
            if here in above:
                yield Found(What.PROBLEM, source, parts, path, message="a link to a folder that contains it")
            elif len(parts) >= MAX_DEPTH:
                yield Found(What.PROBLEM, source, parts, path, message=f"more than {MAX_DEPTH} folders deep")
            else:
                yield from self._folder(source, parts, path, status, (*above, here))
        else:
            message = f"{_SPECIAL.get(kind, 'of an unknown kind')}, which cannot be sent"
            # In a folder nobody can expect it to be copied; who has named it does.
            yield Found(What.HARMLESS if parts else What.PROBLEM, source, parts, path, message=message)

    def _folder(
        self, source: int, parts: list[bytes], path: bytes, status: os.stat_result, above: tuple[tuple[int, int], ...]
    ) -> Iterator[Found]:
        """The folder, its files, then its folders: so that only one is open at a time, however deep they go."""
        try:
            descriptor = self._access.open_folder(path)
        except OSError as error:
            yield _problem(source, parts, path, error)
            return
        yield Found(What.FOLDER, source, parts, path, status)
        folders: list[tuple[list[bytes], bytes, os.stat_result]] = []
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    below, child = [*parts, name], path + b"/" + name
                    try:
                        child_status = entry.stat(follow_symlinks=False)
                        if stat.S_ISLNK(child_status.st_mode):
                            if self._links:
                                target = os.readlink(name, dir_fd=descriptor)
                                yield Found(What.LINK, source, below, child, child_status, target)
                                continue
                            child_status = self._access.status(child)
                    except OSError as error:
                        yield _problem(source, below, child, error)
                        continue
                    if stat.S_ISDIR(child_status.st_mode):
                        folders.append((below, child, child_status))
                    else:
                        yield from self._thing(source, below, child, child_status, above)
        except OSError as error:
            yield _problem(source, parts, path, error)
        finally:
            os.close(descriptor)
        for below, child, child_status in folders:
            yield from self._thing(source, below, child, child_status, above)


def _problem(source: int, parts: list[bytes], path: bytes, error: OSError) -> Found:
    return Found(What.PROBLEM, source, parts, path, message=reason(error))


def reason(error: OSError) -> str:
    """What the system says, in a few words."""
    if error.errno == errno.ELOOP:
        return "a symbolic link that leads nowhere"
    return system_message(error)


def file_error(path: bytes, error: OSError) -> IroshError:
    """``error`` about ``path`` as one for people."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return IroshError(
            ErrorCode.DISK_FULL, f"{named(path)}: {reason(error)}", "free some space; --resume goes on where it ended"
        )
    return IroshError(ErrorCode.FILE, f"{named(path)}: {reason(error)}")


def named(path: bytes) -> str:
    """A path for messages."""
    return quoted(path.decode("utf-8", "replace"))
