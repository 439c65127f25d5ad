"""The host's end of one transfer: a process of the peer's account, which reads, hashes and writes beside the node.

``python -m irosh.services.files.transfer.worker SETUP`` speaks on a socket that it inherits. It changes to the account
before it reads the first byte from the peer.
"""

from __future__ import annotations

import os
import socket
import sys

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.access import Access, WholeAccess
from irosh.services.files.transfer.frames import VERSION, Fatal, Kind, Order, Source, decode
from irosh.services.files.transfer.observing import Silent
from irosh.services.files.transfer.receiving import Receiver
from irosh.services.files.transfer.scanning import find_starts
from irosh.services.files.transfer.sending import Sender
from irosh.services.files.transfer.setup import Setup
from irosh.services.files.transfer.tree_access import TreeAccess
from irosh.services.files.transfer.wire import FrameSocket
from irosh.services.files.view import confined

_LAST_WORDS = 10.0
_UMASK = 0o022


def main() -> None:
    """The program."""
    setup = msgspec.json.decode(sys.argv[1], type=Setup)
    if setup.account is not None:
        user, group, groups = setup.account
        os.setgroups(groups)
        os.setgid(group)
        os.setuid(user)
        os.umask(_UMASK)
    try:
        os.chdir(setup.home)
    except OSError:
        os.chdir("/")
    wire = FrameSocket(socket.socket(fileno=setup.descriptor))
    try:
        serve(wire, setup)
    except IroshError as error:
        _end(wire, error)
    except Exception as error:  # noqa: BLE001 - told to both sides
        import traceback

        traceback.print_exc()
        _end(wire, IroshError(ErrorCode.INTERNAL, f"internal error: {error!r}"[:500], "see the host's log"))


def serve(wire: FrameSocket, setup: Setup) -> None:
    """Do what the peer orders. ``IroshError``."""
    access: Access = TreeAccess(confined(setup.trees)) if setup.trees else WholeAccess()
    frame = wire.receive()
    if frame is None:
        return
    kind, payload = frame
    if kind is not Kind.ORDER:
        raise IroshError(ErrorCode.PROTOCOL, f"a transfer began with a {kind.name} frame")
    order = decode(payload, Order)
    if order.version != VERSION:
        raise IroshError(ErrorCode.PROTOCOL, "the other side transfers files in another way", "update both sides")
    if order.receive != setup.writing:
        raise IroshError(ErrorCode.PROTOCOL, "a transfer the other way than was asked for")
    order.paths = [_from_home(path) for path in order.paths]
    if order.receive:
        Receiver(wire, access, order, order.paths[0], Silent(), _any_sources).run()
    else:
        Sender(wire, access, order, find_starts(access, order, patterns=True), Silent()).run()


def _from_home(path: bytes) -> bytes:
    """The working directory is the home; ``~`` is what people write for it."""
    if path in (b"", b"~"):
        return b"."
    return path[2:].lstrip(b"/") or b"." if path.startswith(b"~/") else path


def _any_sources(_sources: list[Source]) -> None:
    """Who sends to us chooses the names."""


def _end(wire: FrameSocket, error: IroshError) -> None:
    """Tell the peer, and stay until it has read that: what is unread when a socket closes takes the rest with it."""
    try:
        wire.send(Kind.FATAL, Fatal.of(error))
    except IroshError:
        return
    wire.end_sending()
    wire.drain(_LAST_WORDS)


if __name__ == "__main__":
    main()
