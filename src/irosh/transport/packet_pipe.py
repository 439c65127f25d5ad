"""QUIC by way of a byte stream: a UDP socket on loopback that stands for the peer.

An endpoint is bound to loopback and talks to this socket; what it sends goes on the stream, and back. Where the kernel
can (Linux), many packets pass with one call.

The stream is reliable, so QUIC learns of no loss from it. What it sends faster than the stream takes is dropped at the
socket's buffer, which is how congestion shows.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from contextlib import suppress

from irosh.transport.interfaces import SpliceCounters, Stream
from irosh.transport.packet_batches import BatchReader, pack_batches
from irosh.transport.sockets import enlarge_buffers
from irosh.transport.tasks import first_to_end, to_the_end

LOOPBACK = ("127.0.0.1:0", "[::1]:0")
"""What the endpoint binds."""
_READ = 256 * 1024
_WRITE = 128 * 1024  # of what has gathered, to the stream at once
_DATAGRAM = 65_535
_FAREWELL = 1.0  # seconds
# linux/udp.h; Python has names for none of them.
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_GRO_SIZE, _SEGMENT_SIZE = struct.Struct("i"), struct.Struct("H")
_OFFLOAD = sys.platform == "linux"


class PacketPipe:
    """The socket; a context manager that closes it."""

    def __init__(self) -> None:
        self._socket = sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
            enlarge_buffers(sock)
            self._offload = _OFFLOAD
            if self._offload:
                try:
                    sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
                except OSError:
                    self._offload = False  # before Linux 5.0
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> PacketPipe:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def source(self) -> tuple[str, int]:
        """Where it is: what the endpoint dials in the peer's place, and the only one it is to hear."""
        host, port = self._socket.getsockname()
        return host, port

    def join(self, endpoint: tuple[str, int]) -> None:
        """Pass on the packets of the endpoint there, and no other program's."""
        self._socket.connect(endpoint)

    async def carry(self, stream: Stream) -> None:
        """Until the stream ends or breaks, or cancelled; the stream is used up. ``IroshError`` (protocol-error)."""
        # The engine copies between a stream and a socket with far fewer calls than between a stream and us.
        near, far = socket.socketpair()
        with near:
            near.setblocking(False)
            splicing = asyncio.ensure_future(stream.splice(far, SpliceCounters()))
            try:
                await first_to_end(self._from_stream(near), self._to_stream(near))
            except OSError:
                pass  # the splice has ended
            finally:
                await to_the_end(_finished(splicing, near))

    async def _to_stream(self, near: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._readable()
            gathered = bytearray()
            while len(gathered) < _WRITE and (batch := self._received()) is not None:
                gathered += batch
            await loop.sock_sendall(near, gathered)

    def _received(self) -> bytes | None:
        """What the endpoint has sent, as it goes on the stream; None when there is nothing just now."""
        try:
            packets, said, _, _ = self._socket.recvmsg(_DATAGRAM, socket.CMSG_SPACE(_GRO_SIZE.size))
        except BlockingIOError:
            return None
        except OSError:
            return b""  # the endpoint is gone or not there yet; QUIC notices by itself
        size = len(packets)
        for level, kind, data in said:
            if level == _SOL_UDP and kind == _UDP_GRO:
                size = _GRO_SIZE.unpack_from(data)[0]
        return pack_batches(packets, size) if packets else b""

    async def _from_stream(self, near: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = BatchReader()
        while data := await loop.sock_recv(near, _READ):
            for packets, size in reader.feed(data):
                with suppress(OSError):  # no room in the buffer, or no endpoint: as a network would
                    self._send(packets, size)

    def _send(self, packets: bytes, size: int) -> None:
        if size >= len(packets):
            self._socket.send(packets)
        elif self._offload:
            self._socket.sendmsg([packets], [(_SOL_UDP, _UDP_SEGMENT, _SEGMENT_SIZE.pack(size))])
        else:
            for start in range(0, len(packets), size):
                self._socket.send(packets[start : start + size])

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._socket, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._socket)


async def _finished(splicing: asyncio.Future[Exception | None], near: socket.socket) -> None:
    """What was sent last still arrives, if the other side takes it soon."""
    with suppress(OSError):
        near.shutdown(socket.SHUT_WR)
    await asyncio.wait((splicing,), timeout=_FAREWELL)
    splicing.cancel()
    await asyncio.gather(splicing, return_exceptions=True)
