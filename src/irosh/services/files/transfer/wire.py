"""Frames of a transfer on a blocking socket, at a limited pace if one is given."""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from contextlib import suppress

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.frames import HEADER, FrameBuffer, Kind, encode, header

IDLE_DEADLINE = 3600.0
"""Seconds without a byte after which the other side is given up. Long: a session waits minutes for its network."""
_SO_SNDBUFFORCE = 32  # Linux: asm-generic/socket.h
_BUFFER = 4 * 1024 * 1024


def widen(sock: socket.socket) -> None:
    """Let much wait in a Unix socket: who sends by it shall not wait for each block to be taken.

    At both ends: what waits counts for its sender. Further than the system lets others go if this process may.
    """
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= _BUFFER:
        return  # who may has done it
    if sys.platform == "linux":
        with suppress(PermissionError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
            return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)


class Pace:
    """Holds back so that no more than ``rate`` bytes go in a second; None: no limit."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._free_at = 0.0

    def wait(self, size: int) -> None:
        """Before, or after, ``size`` bytes."""
        if not self._rate:
            return
        now = time.monotonic()
        # A tenth of a second may be caught up with, so that a late wake-up costs nothing.
        self._free_at = max(self._free_at, now - 0.1) + size / self._rate
        if self._free_at > now:
            time.sleep(self._free_at - now)


class FrameSocket:
    """Frames both ways. One thread receives, any may send."""

    def __init__(self, sock: socket.socket, *, sending: Pace | None = None, receiving: Pace | None = None) -> None:
        self._sock = sock
        self._sending = sending or Pace(None)
        self._receiving = receiving or Pace(None)
        self._lock = threading.Lock()
        self._buffer = FrameBuffer()
        sock.setblocking(True)
        # The system's own time limits: Python's would cost a further system call for each.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(IDLE_DEADLINE), 0))
        widen(sock)

    def send(self, kind: Kind, message: msgspec.Struct | None = None) -> None:
        """Send a message. ``IroshError`` (connection-lost)."""
        self.send_bytes(kind, b"" if message is None else encode(message))

    def send_bytes(self, kind: Kind, payload: bytes | memoryview) -> None:
        """Send a payload as it is. ``IroshError`` (connection-lost)."""
        head = header(kind, len(payload))
        self._sending.wait(len(payload))
        try:
            with self._lock:
                sent = self._sock.sendmsg([head, payload])
                if sent < HEADER.size:
                    self._sock.sendall(head[sent:])
                    sent = HEADER.size
                if sent - HEADER.size < len(payload):
                    self._sock.sendall(memoryview(payload)[sent - HEADER.size :])
        except OSError as error:
            raise _lost(error) from None

    def receive(self) -> tuple[Kind, memoryview] | None:
        """The next frame, whose payload is valid until the next call; None at the end of the stream.

        ``IroshError``: connection-lost, protocol-error.
        """
        while (frame := self._buffer.take()) is None:
            try:
                size = self._sock.recv_into(self._buffer.space())
            except OSError as error:
                raise _lost(error) from None
            if not size:
                if not self._buffer.is_empty:
                    raise _lost(None)
                return None
            self._buffer.filled(size)
            self._receiving.wait(size)
        return frame

    def end_sending(self) -> None:
        """Nothing more will be sent."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the other side has gone already

    def drain(self, deadline: float) -> None:
        """Read and drop what still comes, for at most ``deadline`` seconds, so that what was sent is not lost."""
        end = time.monotonic() + deadline
        scratch = bytearray(256 * 1024)
        try:
            while (left := end - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv_into(scratch):
                    return
        except OSError:
            return  # it has gone, or was slower than that


def _lost(error: OSError | None) -> IroshError:
    silent = isinstance(error, BlockingIOError)
    return IroshError(
        ErrorCode.CONNECTION_LOST,
        "the other side of the transfer fell silent" if silent else "the transfer was cut off",
        "--resume goes on where it ended",
    )
