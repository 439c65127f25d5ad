"""A bare SFTP client: any request, also those that no decent client makes, and the worker to send them to."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from irosh.core.file_tree import FileTree
from irosh.node.accounts import Account, find_account
from irosh.services.files.sftp_wire import Packet, Reader, Status
from irosh.services.files.worker_process import worker_arguments

WORKER = "irosh.services.files.worker"
NO_ATTRIBUTES = bytes(4)


def text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def long(value: int) -> bytes:
    return struct.pack(">Q", value)


class Reply(NamedTuple):
    """One reply: its type and what follows the number of its request."""

    kind: int
    body: Reader

    def status(self) -> tuple[Status, str]:
        assert self.kind == Packet.STATUS, self.kind
        return Status(self.body.uint32()), self.body.string().decode()

    def handle(self) -> bytes:
        assert self.kind == Packet.HANDLE, self.status()
        return self.body.string()

    def data(self) -> bytes:
        assert self.kind == Packet.DATA, self.status()
        return self.body.string()

    def names(self) -> list[bytes]:
        assert self.kind == Packet.NAME, self.status()
        found = []
        for _ in range(self.body.uint32()):
            found.append(self.body.string())
            self.body.string()
            self.body.attributes()
        return found


class SFTPClient:
    """Speaks to a worker on its pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._number = 0

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[os.write(self.process.stdin.fileno(), view) :]

    def begin(self) -> dict[bytes, bytes]:
        """INIT; returns the extensions."""
        self.raw(struct.pack(">IBI", 5, Packet.INIT, 3))
        reader = Reader(self._packet())
        assert (reader.byte(), reader.uint32()) == (Packet.VERSION, 3)
        extensions: dict[bytes, bytes] = {}
        while not reader.at_end:
            name = reader.string()
            extensions[name] = reader.string()
        return extensions

    def send(self, kind: int, *fields: bytes) -> int:
        """Send a request without waiting for its reply."""
        self._number += 1
        body = b"".join(fields)
        self.raw(struct.pack(">IBI", 5 + len(body), kind, self._number) + body)
        return self._number

    def receive(self) -> Reply:
        """The next reply."""
        reader = Reader(self._packet())
        kind = reader.byte()
        reader.uint32()
        return Reply(kind, reader)

    def ask(self, kind: int, *fields: bytes) -> Reply:
        """A request and its reply."""
        self.send(kind, *fields)
        return self.receive()

    def extended(self, name: bytes, *fields: bytes) -> Reply:
        """A request of an extension."""
        return self.ask(Packet.EXTENDED, text(name), *fields)

    def open(self, path: bytes, flags: int = 1) -> Reply:
        return self.ask(Packet.OPEN, text(path), number(flags), NO_ATTRIBUTES)

    def _packet(self) -> bytes:
        assert self.process.stdout is not None
        size = self.process.stdout.read(4)
        assert len(size) == 4, "the worker has ended"
        return self.process.stdout.read(int.from_bytes(size, "big"))


@contextmanager
def worker(
    trees: Sequence[FileTree], *, account: Account | None = None, scp: str | None = None, standard_links: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """The process that serves files, on pipes."""
    arguments = worker_arguments(
        account or find_account("-"), trees, module=WORKER, scp=scp, standard_links=standard_links
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(arguments, env={}, cwd="/", **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def sftp(
    trees: Sequence[FileTree], *, account: Account | None = None, standard_links: bool = False
) -> Iterator[SFTPClient]:
    """A client that has said INIT to a worker."""
    with worker(trees, account=account, standard_links=standard_links) as process:
        client = SFTPClient(process)
        client.begin()
        yield client
