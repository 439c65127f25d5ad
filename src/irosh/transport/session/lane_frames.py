"""How pieces of a stream are put on a lane: one carrier's stream for one direction of one stream. Pure.

Each piece is a header (flags, offset in the stream, length), then its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from irosh.core.errors import ErrorCode, IroshError
from irosh.transport.session.frames import MAX_OFFSET

MAX_PIECE = 1024 * 1024
_HEADER = struct.Struct(">BQI")
HEADER_SIZE = _HEADER.size
_END = 1


@dataclass(frozen=True)
class Piece:
    """Bytes of a stream at ``offset``, or a part of them; ``end``: the stream ends behind them."""

    offset: int
    data: bytes
    end: bool = False


def pack_piece(piece: Piece) -> bytes:
    """Header and bytes."""
    return _HEADER.pack(_END if piece.end else 0, piece.offset, len(piece.data)) + piece.data


class LaneParser:
    """What arrives on a lane, made into pieces again. Long ones come in parts, as they arrive."""

    def __init__(self) -> None:
        self._head = b""
        self._offset = 0
        self._left = 0  # of the present piece
        self._end = False

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces in ``data``. ``IroshError`` (protocol-error)."""
        view = memoryview(data)
        while view:
            if not self._left:
                missing = HEADER_SIZE - len(self._head)
                self._head += view[:missing]
                view = view[missing:]
                if len(self._head) < HEADER_SIZE:
                    return
                if self._begin():
                    continue
            part = bytes(view[: self._left])
            view = view[len(part) :]
            self._left -= len(part)
            yield Piece(self._offset, part, self._end and not self._left)
            self._offset += len(part)

    def _begin(self) -> bool:
        """The header is there; whether bytes follow."""
        flags, self._offset, self._left = _HEADER.unpack(self._head)
        self._head = b""
        self._end = flags == _END
        if flags not in (0, _END) or self._left > MAX_PIECE or self._offset + self._left > MAX_OFFSET:
            raise IroshError(ErrorCode.PROTOCOL, "a lane brings a malformed piece")
        if not self._left and not self._end:
            raise IroshError(ErrorCode.PROTOCOL, "a lane brings an empty piece")
        return self._left > 0
