"""Where files arrive: the rules of cp(1) and scp(1) for destinations, and the folders below them, by descriptor."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.access import Access, FolderHandle
from irosh.services.files.transfer.frames import Source
from irosh.services.files.transfer.scanning import file_error, named

_OPEN_FOLDERS = 64


@dataclass(frozen=True)
class Place:
    """Where one source goes: as ``name`` into ``folder``, or, without a name, what is in it into ``folder``."""

    folder: FolderHandle
    name: bytes


def find_places(access: Access, path: bytes, sources: list[Source]) -> list[Place]:
    """Where each of ``sources`` goes when ``path`` is the destination. Makes nothing but one missing folder.

    An existing folder takes all of them under their own names; anything else is the new name of the only one.
    ``IroshError`` (file-error).
    """
    path = path or b"."
    status = _status(access, path)
    if status is not None and stat.S_ISDIR(status.st_mode):
        folder = _open(access, path)
        return [Place(folder, source.name) for source in sources]
    if len(sources) != 1:
        what = "is not a folder" if status is not None else "is no folder, and several things cannot have one name"
        raise IroshError(ErrorCode.FILE, f"{named(path)} {what}", "name a folder that exists")
    (source,) = sources
    if status is not None:
        if source.folder:
            raise IroshError(ErrorCode.FILE, f"{named(path)} is a file, and cannot become a folder")
        path = access.resolve(path)  # what a link leads to is replaced, not the link
    elif path.endswith(b"/") and not source.folder:
        raise IroshError(ErrorCode.FILE, f"there is no folder {named(path)}", "make it first, or leave out the last /")
    parent, _, name = path.rstrip(b"/").rpartition(b"/")
    if name in (b"", b".", b".."):
        raise IroshError(ErrorCode.FILE, f"{named(path)} is no name for a file")
    folder = _open(access, parent or (b"/" if path.startswith(b"/") else b"."))
    if source.folder and not source.name:
        # What is in a folder without a name of its own goes into one with the new name.
        return [Place(_made(folder, name, path), b"")]
    return [Place(folder, name)]


def _status(access: Access, path: bytes) -> os.stat_result | None:
    try:
        return access.status(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(path, error) from None


def _open(access: Access, path: bytes) -> FolderHandle:
    try:
        return FolderHandle(access.open_folder(path, writing=True))
    except OSError as error:
        raise file_error(path, error) from None


def _made(folder: FolderHandle, name: bytes, path: bytes) -> FolderHandle:
    try:
        os.mkdir(name, 0o700, dir_fd=folder.descriptor)
        return folder.folder(name, fresh=True)
    except OSError as error:
        raise file_error(path, error) from None


class Folders:
    """The folders below the places, each opened from the one above it; none of them may be a symbolic link."""

    def __init__(self, places: list[Place]) -> None:
        self._places = places
        self._open: OrderedDict[tuple[int, tuple[bytes, ...]], FolderHandle] = OrderedDict()

    def locate(self, source: int, parts: tuple[bytes, ...]) -> tuple[FolderHandle, bytes]:
        """The folder in which something is, and its name there. The name is empty for a place without one.

        ``OSError`` when there is no such folder; ``IroshError`` (protocol-error) for a source that was not announced.
        """
        if source >= len(self._places):
            raise IroshError(ErrorCode.PROTOCOL, "the peer sends what it has not announced")
        place = self._places[source]
        if not parts:
            return place.folder, place.name
        return self._folder(source, parts[:-1]), parts[-1]

    def made(self, source: int, parts: tuple[bytes, ...], folder: FolderHandle) -> None:
        """``folder`` is this one, open."""
        self._keep((source, parts), folder)

    def _folder(self, source: int, parts: tuple[bytes, ...]) -> FolderHandle:
        key = (source, parts)
        if (known := self._open.get(key)) is not None:
            self._open.move_to_end(key)
            return known
        if parts:
            folder = self._folder(source, parts[:-1]).folder(parts[-1])
        else:
            place = self._places[source]
            folder = place.folder.folder(place.name) if place.name else place.folder
        self._keep(key, folder)
        return folder

    def _keep(self, key: tuple[int, tuple[bytes, ...]], folder: FolderHandle) -> None:
        self._open[key] = folder
        while len(self._open) > _OPEN_FOLDERS:
            self._open.popitem(last=False)
