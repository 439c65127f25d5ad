"""The files and directories that a client of the SFTP server has open, by the handles it knows them by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from irosh.services.files.open_file import OpenFile
from irosh.services.files.sftp_wire import Status, uint32
from irosh.services.files.tree import Listing

MAX_HANDLES = 1000


class Failed(Exception):
    """A request that ends with ``status``."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


class OpenDirectory(NamedTuple):
    """A directory, and what of it has not been read yet."""

    listing: Listing
    entries: Iterator[tuple[bytes, os.stat_result]]


class Handles:
    """What is open; each method raises :class:`Failed` for what is not."""

    def __init__(self) -> None:
        self._open: dict[bytes, OpenFile | OpenDirectory] = {}
        self._next = 0

    def check_room(self) -> None:
        """Before something is opened. :class:`Failed` when there is as much as may be."""
        if len(self._open) >= MAX_HANDLES:
            raise Failed(Status.FAILURE, f"too many open files: {MAX_HANDLES}")

    def add(self, thing: OpenFile | OpenDirectory) -> bytes:
        """Its handle."""
        handle = uint32(self._next)
        self._next = (self._next + 1) & 0xFFFF_FFFF
        self._open[handle] = thing
        return handle

    def file(self, handle: bytes) -> OpenFile:
        """The file that is meant."""
        thing = self._open.get(handle)
        if not isinstance(thing, OpenFile):
            raise Failed(Status.FAILURE, "there is no such open file")
        return thing

    def directory(self, handle: bytes) -> OpenDirectory:
        """The directory that is meant."""
        thing = self._open.get(handle)
        if not isinstance(thing, OpenDirectory):
            raise Failed(Status.FAILURE, "there is no such open directory")
        return thing

    def close(self, handle: bytes) -> None:
        """Close one."""
        thing = self._open.pop(handle, None)
        if thing is None:
            raise Failed(Status.FAILURE, "there is no such handle")
        if isinstance(thing, OpenFile):
            thing.close()
        else:
            thing.listing.close()

    def close_all(self) -> None:
        """Close all there are."""
        for handle in list(self._open):
            self.close(handle)
