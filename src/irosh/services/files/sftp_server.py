"""The SFTP server: requests of one client in, replies out, over two descriptors that may block.

It runs in a process of its own, one request at a time: a client that does not read its replies is not read from, so
nothing piles up here. A disk that does not answer holds up this client only.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Callable, Iterator

from irosh.services.files import sftp_wire as wire
from irosh.services.files.long_names import group_name, long_name, user_name
from irosh.services.files.open_file import Change
from irosh.services.files.sftp_handles import MAX_HANDLES, Failed, Handles, OpenDirectory
from irosh.services.files.sftp_wire import BadPacket, Packet, Reader, Status
from irosh.services.files.tree import Tree
from irosh.services.files.view import join

READ_SIZE = 256 * 1024
FLUSH_SIZE = 512 * 1024  # bytes of replies after which they are sent, though more requests are here
NAMES_AT_ONCE = 100
COPY_SIZE = 1024 * 1024

EXTENSIONS = {
    b"posix-rename@openssh.com": b"1",
    b"statvfs@openssh.com": b"2",
    b"fstatvfs@openssh.com": b"2",
    b"hardlink@openssh.com": b"1",
    b"fsync@openssh.com": b"1",
    b"lsetstat@openssh.com": b"1",
    b"limits@openssh.com": b"1",
    b"expand-path@openssh.com": b"1",
    b"copy-data": b"1",
    b"home-directory": b"1",
    b"users-groups-by-id@openssh.com": b"1",
}


class SFTPServer:
    """Serves ``tree`` to one client, whose requests come from ``source`` and whose replies go to ``sink``.

    ``standard_links``: the client orders the arguments of SYMLINK as the draft has it; nearly all do as OpenSSH.
    """

    def __init__(self, tree: Tree, source: int, sink: int, *, standard_links: bool = False) -> None:
        self._tree = tree
        self._source = source
        self._sink = sink
        self._standard_links = standard_links
        self._replies: list[bytes] = []
        self._waiting = 0
        self._handles = Handles()

    def run(self) -> None:
        """Serve until the client has no more to ask. :class:`BadPacket` when it does not speak the protocol."""
        packets = self._packets()
        try:
            first = next(packets, None)
            if first is None:
                return  # it only wanted to know whether we are here
            if Reader(first).byte() != Packet.INIT:
                raise BadPacket("it does not begin with INIT")
            announced = [wire.string(name) + wire.string(value) for name, value in EXTENSIONS.items()]
            self._reply(wire.packet(Packet.VERSION, wire.uint32(wire.VERSION), *announced))
            for request in packets:
                self._reply(self._answer(Reader(request)))
        finally:
            self._handles.close_all()

    # -- packets

    def _packets(self) -> Iterator[bytes]:
        buffer = bytearray()
        at = 0
        while True:
            while len(buffer) - at >= 4:
                size = int.from_bytes(buffer[at : at + 4], "big")
                if not 1 <= size <= wire.MAX_PACKET:
                    self._flush()
                    raise BadPacket(f"a packet of {size} bytes")
                if len(buffer) - at < 4 + size:
                    break
                yield bytes(buffer[at + 4 : at + 4 + size])
                at += 4 + size
            del buffer[:at]
            at = 0
            self._flush()
            data = os.read(self._source, READ_SIZE)
            if not data:
                return
            buffer += data

    def _reply(self, reply: bytes) -> None:
        self._replies.append(reply)
        self._waiting += len(reply)
        if self._waiting >= FLUSH_SIZE:
            self._flush()

    def _flush(self) -> None:
        view = memoryview(b"".join(self._replies))
        self._replies.clear()
        self._waiting = 0
        while view:
            view = view[os.write(self._sink, view) :]

    def _answer(self, request: Reader) -> bytes:
        kind = request.byte()
        number = wire.uint32(request.uint32())
        try:
            method = _METHODS.get(kind)
            if method is None:
                raise Failed(Status.OP_UNSUPPORTED, "there is no such request")
            answered, fields = method(self, request)
            return wire.packet(answered, number, *fields)
        except Failed as failed:
            return _status(number, failed.status, str(failed))
        except BadPacket as bad:
            return _status(number, Status.BAD_MESSAGE, str(bad))
        except OSError as error:
            return _status(number, *_meaning(error))
        except (ValueError, OverflowError):  # a number that the system call cannot take
            return _status(number, Status.FAILURE, os.strerror(errno.EINVAL))

    # -- requests

    def _open(self, request: Reader) -> _Reply:
        path, asked, attributes = request.string(), request.uint32(), request.attributes()
        self._handles.check_room()
        mode = 0o666 if attributes.permissions is None else attributes.permissions & 0o7777
        return _handle(self._handles.add(self._tree.open(path, wire.open_flags(asked), mode)))

    def _close(self, request: Reader) -> _Reply:
        self._handles.close(request.string())
        return _OK

    def _read(self, request: Reader) -> _Reply:
        file, offset, size = self._handles.file(request.string()), request.uint64(), request.uint32()
        data = file.read(offset, min(size, wire.MAX_DATA))
        if not data and size:
            raise Failed(Status.EOF, "end of file")
        return Packet.DATA, (wire.uint32(len(data)), data)

    def _write(self, request: Reader) -> _Reply:
        self._handles.file(request.string()).write(request.uint64(), request.string())
        return _OK

    def _stat(self, request: Reader) -> _Reply:
        return _attributes(self._tree.stat(request.string()))

    def _lstat(self, request: Reader) -> _Reply:
        return _attributes(self._tree.stat(request.string(), follow=False))

    def _fstat(self, request: Reader) -> _Reply:
        return _attributes(self._handles.file(request.string()).stat())

    def _setstat(self, request: Reader) -> _Reply:
        path = request.string()
        self._tree.set(path, _change(request))
        return _OK

    def _lsetstat(self, request: Reader) -> _Reply:
        path = request.string()
        self._tree.set(path, _change(request), follow=False)
        return _OK

    def _fsetstat(self, request: Reader) -> _Reply:
        file = self._handles.file(request.string())
        file.set(_change(request))
        return _OK

    def _opendir(self, request: Reader) -> _Reply:
        self._handles.check_room()
        listing = self._tree.list(request.string())
        return _handle(self._handles.add(OpenDirectory(listing, iter(listing))))

    def _readdir(self, request: Reader) -> _Reply:
        directory = self._handles.directory(request.string())
        with_names = not self._tree.view.confined
        found = []
        for name, attributes in directory.entries:
            shown = long_name(name, attributes, with_names=with_names)
            found.append((name, shown, wire.attributes(attributes)))
            if len(found) == NAMES_AT_ONCE:
                break
        if not found:
            raise Failed(Status.EOF, "end of the directory")
        return Packet.NAME, (wire.names(found),)

    def _remove(self, request: Reader) -> _Reply:
        self._tree.remove(request.string())
        return _OK

    def _mkdir(self, request: Reader) -> _Reply:
        path, attributes = request.string(), request.attributes()
        mode = 0o777 if attributes.permissions is None else attributes.permissions & 0o7777
        self._tree.make_directory(path, mode)
        return _OK

    def _rmdir(self, request: Reader) -> _Reply:
        self._tree.remove_directory(request.string())
        return _OK

    def _realpath(self, request: Reader) -> _Reply:
        return _name(self._tree.real_path(request.string() or b"."))

    def _rename(self, request: Reader) -> _Reply:
        self._tree.rename_new(request.string(), request.string())
        return _OK

    def _posix_rename(self, request: Reader) -> _Reply:
        self._tree.rename(request.string(), request.string())
        return _OK

    def _readlink(self, request: Reader) -> _Reply:
        return _name(self._tree.read_link(request.string()))

    def _symlink(self, request: Reader) -> _Reply:
        first, second = request.string(), request.string()
        says, path = (second, first) if self._standard_links else (first, second)
        self._tree.symlink(says, path)
        return _OK

    def _hardlink(self, request: Reader) -> _Reply:
        self._tree.link(request.string(), request.string())
        return _OK

    def _statvfs(self, request: Reader) -> _Reply:
        return Packet.EXTENDED_REPLY, (wire.space(self._tree.space(request.string())),)

    def _fstatvfs(self, request: Reader) -> _Reply:
        return Packet.EXTENDED_REPLY, (wire.space(self._handles.file(request.string()).space()),)

    def _fsync(self, request: Reader) -> _Reply:
        self._handles.file(request.string()).sync()
        return _OK

    def _limits(self, request: Reader) -> _Reply:
        limits = (wire.MAX_PACKET, wire.MAX_DATA, wire.MAX_DATA, MAX_HANDLES)
        return Packet.EXTENDED_REPLY, tuple(map(wire.uint64, limits))

    def _copy_data(self, request: Reader) -> _Reply:
        source, start, size = self._handles.file(request.string()), request.uint64(), request.uint64()
        target, at = self._handles.file(request.string()), request.uint64()
        found, into = source.stat(), target.stat()
        # A file copied into itself would grow for ever; so would one from a device.
        if not (stat.S_ISREG(found.st_mode) and stat.S_ISREG(into.st_mode)):
            raise Failed(Status.FAILURE, "only regular files can be copied")
        if (found.st_dev, found.st_ino) == (into.st_dev, into.st_ino):
            raise Failed(Status.FAILURE, "a file cannot be copied into itself")
        left = size or max(0, found.st_size - start)
        while left:
            data = source.read(start, min(left, COPY_SIZE))
            if not data:
                if size:
                    raise Failed(Status.FAILURE, "the file ended before")
                break
            target.write(at, data)
            start, at, left = start + len(data), at + len(data), left - len(data)
        return _OK

    def _expand_path(self, request: Reader) -> _Reply:
        path = request.string()
        if path.startswith(b"~"):
            user, slash, rest = path[1:].partition(b"/")
            path = self._home(user) + slash + rest
        return _name(self._tree.real_path(path or b"."))

    def _home_directory(self, request: Reader) -> _Reply:
        return _name(self._home(request.string()))

    def _home(self, user: bytes) -> bytes:
        start = join(self._tree.view.start)
        if not user or self._tree.view.confined:
            return start
        try:
            return os.fsencode(pwd.getpwnam(os.fsdecode(user)).pw_dir)
        except KeyError:
            raise Failed(Status.NO_SUCH_FILE, "there is no such user") from None

    def _users_groups(self, request: Reader) -> _Reply:
        users, groups = request.string(), request.string()
        if self._tree.view.confined:
            return Packet.EXTENDED_REPLY, (_looked_up(users, _nobody), _looked_up(groups, _nobody))
        return Packet.EXTENDED_REPLY, (_looked_up(users, user_name), _looked_up(groups, group_name))

    def _extended(self, request: Reader) -> _Reply:
        method = _EXTENDED_METHODS.get(request.string())
        if method is None:
            raise Failed(Status.OP_UNSUPPORTED, "there is no such extension")
        return method(self, request)


_Reply = tuple[Packet, tuple[bytes, ...]]
_Method = Callable[[SFTPServer, Reader], _Reply]
_OK: _Reply = (Packet.STATUS, (wire.uint32(Status.OK), wire.string(b""), wire.string(b"")))


def _handle(handle: bytes) -> _Reply:
    return Packet.HANDLE, (wire.string(handle),)


def _attributes(found: os.stat_result) -> _Reply:
    return Packet.ATTRS, (wire.attributes(found),)


def _name(name: bytes) -> _Reply:
    return Packet.NAME, (wire.names([(name, name, wire.NO_ATTRIBUTES)]),)


def _nobody(number: int) -> bytes:
    return b""


def _looked_up(packed: bytes, look_up: Callable[[int], bytes]) -> bytes:
    if len(packed) % 4 or len(packed) > 4 * 1024:
        raise BadPacket("not a list of up to 1024 numbers")
    numbers = [int.from_bytes(packed[at : at + 4], "big") for at in range(0, len(packed), 4)]
    return wire.string(b"".join(wire.string(look_up(number)) for number in numbers))


def _change(request: Reader) -> Change:
    size, owner, permissions, times = request.attributes()
    nanoseconds = None if times is None else (times[0] * 10**9, times[1] * 10**9)
    return Change(size, owner, None if permissions is None else permissions & 0o7777, nanoseconds)


def _status(number: bytes, status: Status, message: str) -> bytes:
    text = wire.string(message.encode(errors="replace"))
    return wire.packet(Packet.STATUS, number, wire.uint32(status), text, wire.string(b"en"))


def _meaning(error: OSError) -> tuple[Status, str]:
    """Version 3 has few codes; the rest is in the text, which never holds a path."""
    number = error.errno or errno.EIO
    message = os.strerror(number)
    if number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return Status.NO_SUCH_FILE, message
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Status.PERMISSION_DENIED, message
    if number in (errno.ENOSYS, errno.ENOTSUP):
        return Status.OP_UNSUPPORTED, message
    return Status.FAILURE, message


_METHODS: dict[int, _Method] = {
    Packet.OPEN: SFTPServer._open,
    Packet.CLOSE: SFTPServer._close,
    Packet.READ: SFTPServer._read,
    Packet.WRITE: SFTPServer._write,
    Packet.LSTAT: SFTPServer._lstat,
    Packet.FSTAT: SFTPServer._fstat,
    Packet.SETSTAT: SFTPServer._setstat,
    Packet.FSETSTAT: SFTPServer._fsetstat,
    Packet.OPENDIR: SFTPServer._opendir,
    Packet.READDIR: SFTPServer._readdir,
    Packet.REMOVE: SFTPServer._remove,
    Packet.MKDIR: SFTPServer._mkdir,
    Packet.RMDIR: SFTPServer._rmdir,
    Packet.REALPATH: SFTPServer._realpath,
    Packet.STAT: SFTPServer._stat,
    Packet.RENAME: SFTPServer._rename,
    Packet.READLINK: SFTPServer._readlink,
    Packet.SYMLINK: SFTPServer._symlink,
    Packet.EXTENDED: SFTPServer._extended,
}
_EXTENDED_METHODS: dict[bytes, _Method] = {
    b"posix-rename@openssh.com": SFTPServer._posix_rename,
    b"statvfs@openssh.com": SFTPServer._statvfs,
    b"fstatvfs@openssh.com": SFTPServer._fstatvfs,
    b"hardlink@openssh.com": SFTPServer._hardlink,
    b"fsync@openssh.com": SFTPServer._fsync,
    b"lsetstat@openssh.com": SFTPServer._lsetstat,
    b"limits@openssh.com": SFTPServer._limits,
    b"expand-path@openssh.com": SFTPServer._expand_path,
    b"copy-data": SFTPServer._copy_data,
    b"home-directory": SFTPServer._home_directory,
    b"users-groups-by-id@openssh.com": SFTPServer._users_groups,
}
