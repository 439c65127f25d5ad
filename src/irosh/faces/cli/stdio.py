"""Standard input and output, joined to a stream of the node's."""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import suppress

from irosh.faces.cli.writing import telling_unwritten, write_all
from irosh.node.control_client import ControlClient

_CHUNK = 256 * 1024


def carry_stdio(client: ControlClient, sock: socket.socket) -> None:
    """Copy both ways by ``sock`` until the peer ends, as ssh(1) does. ``IroshError`` when the stream is broken off.

    End of input is passed on as a half-close; what was sent before the peer ended still arrives.
    """
    # Each way has a thread of its own, so that neither waits for the other when both are full.
    threading.Thread(target=_feed, args=(sock,), daemon=True).start()
    while data := _received(sock):
        with telling_unwritten():
            write_all(1, data)
    _end(sock)
    client.finish()


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(_CHUNK)
    except ConnectionResetError:  # the stream has ended before all that we sent was taken
        return b""


def _feed(sock: socket.socket) -> None:
    with suppress(OSError):  # the stream has ended: the other way tells
        while data := _read():
            sock.sendall(data)
    _end(sock)


def _read() -> bytes:
    while True:
        try:
            return os.read(0, _CHUNK)
        except BlockingIOError:  # somebody has set it so
            select.select([0], [], [])


def _end(sock: socket.socket) -> None:
    with suppress(OSError):  # the node has gone
        sock.shutdown(socket.SHUT_WR)
