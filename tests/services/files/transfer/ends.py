"""Both ends of a transfer in one process, joined by a socket pair; and a sender that says whatever a test wants."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from irosh.core.errors import IroshError
from irosh.faces.cli.transferring import check_asked_for
from irosh.services.files.transfer.access import Access, WholeAccess
from irosh.services.files.transfer.frames import VERSION, Fatal, Kind, Order, Result, Source, Sources, decode
from irosh.services.files.transfer.receiving import Receiver
from irosh.services.files.transfer.scanning import find_starts
from irosh.services.files.transfer.sending import Sender
from irosh.services.files.transfer.wire import FrameSocket

DEADLINE = 30.0


class Watched:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.size = 0
        self.files = 0
        self.total: tuple[int, int, bool] | None = None
        self.problems: list[tuple[str, str]] = []
        self.skipped: list[tuple[str, str]] = []
        self.on_moved: Callable[[int], None] = lambda size: None

    def totals(self, files: int, size: int, *, complete: bool) -> None:
        self.total = files, size, complete

    def file(self, name: bytes) -> None:
        pass

    def moved(self, size: int, files: int = 0) -> None:
        self.size += size
        self.files += files
        self.on_moved(self.size)

    def problem(self, name: bytes, message: str, *, harmless: bool) -> None:
        (self.skipped if harmless else self.problems).append((os.fsdecode(name), message))


def order(*paths: Path | str, **options: bool) -> Order:
    """An order for these paths, recursive unless said otherwise, that does not wait for the disk."""
    return Order(VERSION, True, [os.fsencode(path) for path in paths], **{"recursive": True, "sync": False, **options})


def anything(_sources: list[Source]) -> None:
    """A check that lets everything through."""


def transfer(
    asked: Order,
    destination: Path | str,
    *,
    sending: Watched | None = None,
    receiving: Watched | None = None,
    access: Access | None = None,
    patterns: bool = False,
) -> Result:
    """Copy what ``asked`` names to ``destination``, through both ends. ``IroshError`` of the receiving one."""
    near, far = socket.socketpair()
    with near, far:
        return _both(asked, destination, near, far, sending, receiving, access, patterns)


def _both(
    asked: Order,
    destination: Path | str,
    near: socket.socket,
    far: socket.socket,
    sending: Watched | None,
    receiving: Watched | None,
    access: Access | None,
    patterns: bool,
) -> Result:
    results: list[Result] = []

    def send() -> None:
        wire = FrameSocket(near)
        try:
            starts = find_starts(WholeAccess(), asked, patterns=patterns)
            results.append(Sender(wire, WholeAccess(), asked, starts, sending or Watched()).run())
        except IroshError as error:
            last_words = Fatal.of(error)
            with_suppressed_loss(lambda: wire.send(Kind.FATAL, last_words))
        finally:
            wire.end_sending()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        wire = FrameSocket(far)
        target = os.fsencode(destination)
        result = Receiver(wire, access or WholeAccess(), asked, target, receiving or Watched(), anything).run()
    finally:
        far.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE)
    assert not thread.is_alive()
    assert results == [result]
    return result


def with_suppressed_loss(work: Callable[[], None]) -> None:
    """Do ``work``, though the other side may have gone."""
    try:
        work()
    except IroshError:
        return


class ForeignSender:
    """Says what a test wants to a real receiver, which runs in a thread."""

    def __init__(self, destination: Path, asked: Order, observer: Watched) -> None:
        self._near, self._far = socket.socketpair()
        self.wire = FrameSocket(self._near)
        self.error: IroshError | None = None
        self.result: Result | None = None
        self._asked = asked
        self._destination = destination
        self._observer = observer
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def say(self, kind: Kind, message: msgspec.Struct | None = None) -> None:
        with_suppressed_loss(lambda: self.wire.send(kind, message))

    def announce(self, *sources: Source) -> None:
        self.say(Kind.SOURCES, Sources(list(sources)))

    def heard(self, kind: Kind, message: type[msgspec.Struct]) -> msgspec.Struct:
        """The next frame of this kind."""
        while (frame := self.wire.receive()) is not None:
            if frame[0] is kind:
                return decode(frame[1], message)
        raise AssertionError(f"the receiver ended without {kind.name}")

    def end(self) -> None:
        """Have the receiver end, and wait for it."""
        self.wire.end_sending()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        self._near.close()

    def _receive(self) -> None:
        with self._far:
            wire = FrameSocket(self._far)
            try:
                self.result = Receiver(
                    wire,
                    WholeAccess(),
                    self._asked,
                    os.fsencode(self._destination),
                    self._observer,
                    lambda sources: check_asked_for(self._asked, sources),
                ).run()
            except IroshError as error:
                self.error = error


@contextmanager
def foreign_sender(destination: Path, asked: Order, observer: Watched | None = None) -> Iterator[ForeignSender]:
    """A :class:`ForeignSender` for the length of the block, after which the receiver has ended."""
    sender = ForeignSender(destination, asked, observer or Watched())
    try:
        yield sender
    finally:
        sender.end()
