"""Packets on a byte stream, several of one size at a time, as the kernel hands them over. Pure.

A batch is a 16-bit packet size, the 16-bit length of all its packets together, and the packets: each has that size,
but for the last, which may be shorter. Numbers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from irosh.core.errors import ErrorCode, IroshError

MAX_BATCH = 65_507
"""Bytes: what one call passes to a UDP socket at most."""
MAX_PACKETS = 64
"""In one batch: Linux' UDP_MAX_SEGMENTS, of the versions that take the fewest."""
_HEADER = struct.Struct(">HH")


def pack_batches(packets: bytes, size: int) -> bytes:
    """``packets``, each of ``size`` bytes but for the last, as they travel on a stream."""
    if len(packets) <= size * MAX_PACKETS:
        return _HEADER.pack(min(size, len(packets)), len(packets)) + packets
    most = size * MAX_PACKETS
    return b"".join(pack_batches(packets[start : start + most], size) for start in range(0, len(packets), most))


class BatchReader:
    """Takes a stream apart again."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """The batches that are whole now: packets, and the size of each. ``IroshError`` (protocol-error)."""
        data = self._pending + data if self._pending else data
        self._pending = b""
        start, end = 0, len(data)
        while end - start >= _HEADER.size:
            size, length = _HEADER.unpack_from(data, start)
            if not 1 <= size <= length <= min(MAX_BATCH, size * MAX_PACKETS):
                raise IroshError(ErrorCode.PROTOCOL, f"packets of {size} bytes in a batch of {length}")
            body = start + _HEADER.size
            if end - body < length:
                break
            yield data[body : body + length], size
            start = body + length
        self._pending = data[start:]
