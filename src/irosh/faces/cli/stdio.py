"""Standard input and output, joined to a socket."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress

_CHUNK = 256 * 1024


def carry_stdio(sock: socket.socket) -> None:
    """Copy both ways until the peer ends; end of input is passed on as a half-close.

    Each way has a thread of its own, so that neither waits for the other when both are full.
    """
    threading.Thread(target=_feed, args=(sock,), daemon=True).start()
    while data := sock.recv(_CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


def _feed(sock: socket.socket) -> None:
    with suppress(OSError):  # the peer has ended: the other way tells
        while data := os.read(0, _CHUNK):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
