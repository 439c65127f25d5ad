"""The far end of ``scp -O``: the old protocol of scp, on a peer's trees, over two descriptors that may block.

Each side sends lines and waits for a byte: 0 for yes, 1 and a line for an error, 2 and a line for the last one.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import NamedTuple

from irosh.services.files.open_file import Change, OpenFile
from irosh.services.files.scp_command import ScpCommand
from irosh.services.files.tree import Tree

LONGEST_LINE = 8192
MAX_DEPTH = 200
MAX_MATCHES = 100_000
CHUNK = 256 * 1024
_LARGEST = 2**63 - 1


class ProtocolError(Exception):
    """What the client says cannot be understood; nothing more can be."""


class _Incoming(NamedTuple):
    mode: int
    size: int
    name: bytes


class ScpServer:
    """One transfer. ``run`` returns the exit status: 1 when anything failed, which the client has been told."""

    def __init__(self, tree: Tree, command: ScpCommand, source: int, sink: int) -> None:
        self._tree = tree
        self._command = command
        self._source = source
        self._sink = sink
        self._read = bytearray()
        self._failed = False

    def run(self) -> int:
        """Carry it out."""
        try:
            if self._command.receives:
                self._receive_all(os.fsencode(self._command.paths[0]))
            else:
                self._send_all([os.fsencode(path) for path in self._command.paths])
        except ProtocolError as error:
            self._write(b"\2scp: " + str(error).encode() + b"\n")
            self._failed = True
        except EOFError:
            self._failed = True
        return int(self._failed)

    # -- bytes

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._sink, view) :]

    def _some(self, most: int) -> bytes:
        if not self._read:
            self._read += os.read(self._source, CHUNK)
            if not self._read:
                raise EOFError
        taken = bytes(self._read[:most])
        del self._read[:most]
        return taken

    def _line(self) -> bytes:
        """Up to the end of the line, without it. ``EOFError`` between lines too."""
        line = b""
        while not line.endswith(b"\n"):
            if len(line) > LONGEST_LINE:
                raise ProtocolError("line too long")
            line += self._some(1)
        return line[:-1]

    def _complain(self, path: bytes, reason: str) -> None:
        """Tell the client of one failure and go on. Line breaks of a name would end the line."""
        self._failed = True
        shown = path.replace(b"\n", b"?").replace(b"\r", b"?")
        self._write(b"\1scp: " + shown + b": " + reason.encode() + b"\n")

    def _yes(self) -> None:
        self._write(b"\0")

    def _agreed(self) -> bool:
        """The client's answer; False when it could not take what was announced."""
        answer = self._some(1)
        if answer == b"\0":
            return True
        self._line()  # for its own user, who has been told
        self._failed = True
        if answer == b"\1":
            return False
        if answer == b"\2":
            raise EOFError
        raise ProtocolError("expected an answer")

    # -- to the client

    def _send_all(self, patterns: list[bytes]) -> None:
        self._agreed()
        for pattern in patterns:
            found = False
            for path in self._matches(pattern):
                found = True
                self._send(path, 0)
            if not found:
                self._complain(pattern, "No such file or directory")

    def _send(self, path: bytes, depth: int) -> None:
        try:
            found = self._tree.stat(path)
            if stat.S_ISDIR(found.st_mode):
                if not self._command.recursive:
                    self._complain(path, "not a regular file")
                elif depth >= MAX_DEPTH:
                    self._complain(path, "too many directories within one another")
                else:
                    self._send_directory(path, found, depth)
                return
            if not stat.S_ISREG(found.st_mode):
                self._complain(path, "not a regular file")
                return
            file = self._tree.open(path, os.O_RDONLY)
        except OSError as error:
            self._complain(path, os.strerror(error.errno or 0))
            return
        try:
            self._send_file(path, file)
        finally:
            file.close()

    def _send_file(self, path: bytes, file: OpenFile) -> None:
        found = file.stat()
        size = found.st_size
        if not self._announce(b"C", path, found, size):
            return
        sent = 0
        failure = ""
        while sent < size:
            try:
                data = b"" if failure else file.read(sent, min(CHUNK, size - sent))
            except OSError as error:
                data, failure = b"", os.strerror(error.errno or 0)
            if not data:
                # The size was announced: what cannot be read any more is made up, and an error tells so.
                failure = failure or "the file became shorter"
                data = bytes(min(CHUNK, size - sent))
            self._write(data)
            sent += len(data)
        if failure:
            self._complain(path, failure)
        else:
            self._yes()
        self._agreed()

    def _send_directory(self, path: bytes, found: os.stat_result, depth: int) -> None:
        listing = self._tree.list(path)
        try:
            if not self._announce(b"D", path, found, 0):
                return
            for name, _ in listing:
                self._send(path.rstrip(b"/") + b"/" + name, depth + 1)
        finally:
            listing.close()
        self._write(b"E\n")
        self._agreed()

    def _announce(self, kind: bytes, path: bytes, found: os.stat_result, size: int) -> bool:
        name = path.rstrip(b"/").rpartition(b"/")[2] or b"."
        if b"\n" in name:
            self._complain(path, "a name with a line break cannot be sent by this protocol")
            return False
        if self._command.preserves:
            times = max(0, int(found.st_mtime)), max(0, int(found.st_atime))
            self._write(b"T%d 0 %d 0\n" % times)
            if not self._agreed():
                return False
        self._write(b"%s%04o %d %s\n" % (kind, stat.S_IMODE(found.st_mode), size, name))
        return self._agreed()

    def _matches(self, pattern: bytes) -> Iterator[bytes]:
        """What a shell would make of ``pattern``; the peer has none here."""
        if not any(char in pattern for char in b"*?["):
            yield pattern
            return
        found = [b"/" if pattern.startswith(b"/") else b""]
        for part in pattern.split(b"/"):
            if part:
                # Folders that hold links to one another would make any number of paths.
                found = list(islice((path for base in found for path in self._expanded(base, part)), MAX_MATCHES))
        yield from found

    def _expanded(self, base: bytes, part: bytes) -> list[bytes]:
        if not any(char in part for char in b"*?["):
            try:
                self._tree.stat(_below(base, part), follow=False)
            except OSError:
                return []
            return [_below(base, part)]
        try:
            listing = self._tree.list(base or b".")
        except OSError:
            return []
        try:
            names = [name for name, _ in listing if not name.startswith(b".") or part.startswith(b".")]
        finally:
            listing.close()
        text = os.fsdecode(part)
        return [_below(base, name) for name in sorted(names) if fnmatchcase(os.fsdecode(name), text)]

    # -- from the client

    def _receive_all(self, target: bytes) -> None:
        is_directory = self._is_directory(target)
        if self._command.into_directory and not is_directory:
            self._write(b"\2scp: " + target.replace(b"\n", b"?") + b": Not a directory\n")
            self._failed = True
            return
        self._yes()
        directories: list[tuple[bytes, int | None, tuple[int, int] | None]] = []
        times: tuple[int, int] | None = None
        while True:
            try:
                line = self._line()
            except EOFError:
                return
            kind, rest = line[:1], line[1:]
            if kind in (b"\1", b"\2"):
                self._failed = True
                if kind == b"\2":
                    return
            elif kind == b"T":
                times = _times(rest)
                self._yes()
            elif kind == b"E":
                if not directories:
                    raise ProtocolError("the end of a directory that did not begin")
                self._finish_directory(*directories.pop())
            elif kind in (b"C", b"D"):
                incoming = _incoming(rest)
                within = directories[-1][0] if directories else target
                path = _below(within + b"/", incoming.name) if directories or is_directory else target
                if kind == b"C":
                    self._receive_file(path, incoming, times)
                elif not self._command.recursive:
                    raise ProtocolError("received a directory without -r")
                elif len(directories) >= MAX_DEPTH:
                    raise ProtocolError("too many directories within one another")
                else:
                    directories.append((path, *self._begin_directory(path, incoming, times)))
                times = None
            else:
                raise ProtocolError("expected control record")

    def _receive_file(self, path: bytes, incoming: _Incoming, times: tuple[int, int] | None) -> None:
        try:
            file = self._tree.open(path, os.O_WRONLY | os.O_CREAT, (incoming.mode | stat.S_IWUSR) & 0o7777)
        except OSError as error:
            self._complain(path, os.strerror(error.errno or 0))
            return  # the client sends nothing
        failure = ""
        try:
            self._yes()
            done = 0
            while done < incoming.size:
                data = self._some(min(CHUNK, incoming.size - done))
                if not failure:
                    failure = _failure_of(partial(file.write, done, data))
                done += len(data)
            mode = incoming.mode if self._command.preserves else None
            change = Change(size=incoming.size, mode=mode, times=times)
            failure = failure or _failure_of(lambda: file.set(change))
        finally:
            failure = _failure_of(file.close) or failure
        if not self._agreed():
            return  # it could not read all of its file; it has said so to its own user
        if failure:
            self._complain(path, failure)
        else:
            self._yes()

    def _begin_directory(
        self, path: bytes, incoming: _Incoming, times: tuple[int, int] | None
    ) -> tuple[int | None, tuple[int, int] | None]:
        if not self._is_directory(path):
            try:
                self._tree.make_directory(path, incoming.mode | stat.S_IRWXU)
            except OSError as error:
                # All that is in it would fail too.
                raise ProtocolError(f"{os.fsdecode(path)}: {os.strerror(error.errno or 0)}") from None
        self._yes()
        return (incoming.mode if self._command.preserves else None), times

    def _finish_directory(self, path: bytes, mode: int | None, times: tuple[int, int] | None) -> None:
        failure = _failure_of(lambda: self._tree.set(path, Change(mode=mode, times=times)))
        if failure:
            self._complain(path, failure)
        else:
            self._yes()

    def _is_directory(self, path: bytes) -> bool:
        try:
            return stat.S_ISDIR(self._tree.stat(path).st_mode)
        except OSError:
            return False


def _below(base: bytes, name: bytes) -> bytes:
    return base + name if not base or base.endswith(b"/") else base + b"/" + name


def _failure_of(call: Callable[[], None]) -> str:
    """Why ``call`` failed; nothing when it did not."""
    try:
        call()
    except (OSError, OverflowError) as error:
        return os.strerror(getattr(error, "errno", None) or errno.EINVAL)
    return ""


def _incoming(rest: bytes) -> _Incoming:
    """``0644 1234 name``. The name is one in the directory, nothing else."""
    mode, _, more = rest.partition(b" ")
    size, _, name = more.partition(b" ")
    if not (re.fullmatch(rb"[0-7]{3,5}", mode) and re.fullmatch(rb"[0-9]{1,19}", size)) or int(size) > _LARGEST:
        raise ProtocolError("bad mode or size")
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        raise ProtocolError("unexpected filename")
    return _Incoming(int(mode, 8) & 0o7777, int(size), name)


def _times(rest: bytes) -> tuple[int, int]:
    """``MTIME 0 ATIME 0`` as times of the last access and change, in nanoseconds."""
    found = re.fullmatch(rb"([0-9]{1,10}) [0-9]{1,6} ([0-9]{1,10}) [0-9]{1,6}", rest)
    if found is None:
        raise ProtocolError("bad times")
    return int(found[2]) * 10**9, int(found[1]) * 10**9
