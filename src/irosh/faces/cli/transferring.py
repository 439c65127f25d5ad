"""Putting files on a peer and getting them, for the commands that do and for the prompt in a session.

Blocking. The command reads and writes the files itself, with its own working directory and umask; the node carries
the bytes between a socket of the command's and the peer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.link_notices import LinkNotices
from irosh.faces.cli.link_watch import LinkWatch
from irosh.faces.cli.options import Settings
from irosh.faces.cli.output import Output
from irosh.faces.cli.running import control_client
from irosh.services.files.transfer.access import WholeAccess
from irosh.services.files.transfer.frames import VERSION, Kind, Order, Result, Source
from irosh.services.files.transfer.observing import Observer
from irosh.services.files.transfer.receiving import Receiver
from irosh.services.files.transfer.scanning import find_starts, has_pattern, matches, source_name
from irosh.services.files.transfer.sending import Sender
from irosh.services.files.transfer.wire import FrameSocket, Pace


@dataclass(frozen=True)
class TransferOptions:
    """How to transfer. ``limit`` in bytes a second; ``request`` are further fields of the target, as modes."""

    recursive: bool = False
    preserve: bool = True
    links: bool = False
    resume: bool = False
    quick: bool = False
    sync: bool = True
    limit: float | None = None
    user: str | None = None
    request: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=lambda: {"offer": None, "answer": None})
    """Where the blocks of manual modes are."""
    tell_link: bool = False
    """Print what happens to the link; not where something else has the screen."""

    def order(self, paths: Sequence[bytes], *, receive: bool) -> Order:
        """For the other side."""
        return Order(
            VERSION,
            receive,
            list(paths),
            recursive=self.recursive,
            preserve=self.preserve,
            links=self.links,
            resume=self.resume,
            quick=self.quick,
            sync=self.sync,
        )


def put(
    settings: Settings,
    peer_id: str,
    sources: Sequence[str],
    destination: str,
    options: TransferOptions,
    progress: Observer,
) -> Result:
    """Copy local ``sources`` to ``destination`` on the peer. ``IroshError``; what single files fail by goes to
    ``progress``.
    """
    access = WholeAccess()
    paths = [os.fsencode(source) for source in sources]
    starts = find_starts(access, options.order(paths, receive=False), patterns=False)
    with opened(settings, peer_id, options, writing=True) as sock:
        wire = FrameSocket(sock, sending=Pace(options.limit))
        order = options.order([os.fsencode(destination)], receive=True)
        wire.send(Kind.ORDER, order)
        return Sender(wire, access, order, starts, progress).run()


def get(
    settings: Settings,
    peer_id: str,
    sources: Sequence[str],
    destination: str,
    options: TransferOptions,
    progress: Observer,
) -> Result:
    """Copy ``sources`` on the peer to a local ``destination``. As :func:`put`."""
    paths = [os.fsencode(source) for source in sources]
    with opened(settings, peer_id, options, writing=False) as sock:
        wire = FrameSocket(sock, receiving=Pace(options.limit))
        order = options.order(paths, receive=False)
        wire.send(Kind.ORDER, order)

        def check(announced: list[Source]) -> None:
            check_asked_for(order, announced)

        return Receiver(wire, WholeAccess(), order, os.fsencode(destination), progress, check).run()


def check_asked_for(order: Order, announced: Sequence[Source]) -> None:
    """The peer chooses no names: each must be that of a path asked for. ``IroshError`` (protocol-error)."""
    seen: set[int] = set()
    for source in announced:
        path = order.paths[source.order] if source.order < len(order.paths) else b""
        name = source_name(path)
        several = has_pattern(path)
        good = source.name == name or (has_pattern(name) and matches(source.name, name))
        if source.order >= len(order.paths) or not good or (source.order in seen and not several):
            raise IroshError(ErrorCode.PROTOCOL, "the peer sends files that were not asked for")
        if source.folder and not order.recursive:
            raise IroshError(ErrorCode.PROTOCOL, "the peer sends a folder, which was not asked for")
        seen.add(source.order)


@contextmanager
def opened(settings: Settings, peer_id: str, options: TransferOptions, *, writing: bool) -> Iterator[socket.socket]:
    """A stream to the peer's files, as a socket."""
    output = settings.output
    with control_client(settings, output) as client:
        blocks = Blocks(output, options.files, stdin=True, stdout=True)
        request = {**options.request, "target": peer_id, "user": options.user, "writing": writing}

        def told(message: dict[str, Any]) -> None:
            if not blocks.handle(message):
                _connected(output, message)

        notices = LinkNotices(output, on_terminal=False) if options.tell_link else None
        with (
            client.open_stream("files.transfer", request, told, lambda: blocks.wait(client)) as sock,
            LinkWatch(client, notices) as watch,
        ):
            try:
                yield sock
            except IroshError as error:
                raise _explained(error, sock, watch) from None
            finally:
                _end(sock)


def _explained(error: IroshError, sock: socket.socket, watch: LinkWatch) -> IroshError:
    """``error``, or what the node says of the end of the stream, if it says more than that."""
    if error.code is not ErrorCode.CONNECTION_LOST:
        return error
    _end(sock)
    why = watch.failure()
    if why is None or why.code is ErrorCode.CONNECTION_LOST:
        return error
    return IroshError(why.code, why.message, why.hint or error.hint)


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)  # closing would not do: a thread that still reads would keep it open


def _connected(output: Output, message: dict[str, Any]) -> None:
    fields = {key: value for key, value in message.items() if key != "event"}
    name = fields.get("peer")
    text = f"irosh: {name} is pinned; from now on its name is enough" if fields.get("new") else None
    output.event(str(message.get("event")), fields, text)
