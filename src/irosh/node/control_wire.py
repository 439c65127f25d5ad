"""The frames on the control socket: a 32-bit big-endian length, one byte of kind, the payload. Pure, no I/O.

Imports next to nothing, because commands that attach to a running node must start fast.
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from typing import Any

from irosh.core.errors import ErrorCode, IroshError

CONTROL_VERSION = 2
PREFIX = struct.Struct(">IB")
MAX_PAYLOAD = 4 * 1024 * 1024  # the status of thousands of connections


class Kind(IntEnum):
    """What a frame carries."""

    MESSAGE = 0  # one JSON object: a request, an answer or an event
    STDIN = 1  # bytes typed or piped; empty: end of input
    STDOUT = 2
    STDERR = 3


def pack(kind: Kind, payload: bytes | memoryview) -> bytes:
    """One whole frame."""
    return PREFIX.pack(len(payload), kind) + bytes(payload)


def pack_message(message: dict[str, Any]) -> bytes:
    """One whole frame with a JSON object."""
    return pack(Kind.MESSAGE, json.dumps(message, separators=(",", ":")).encode())


def parse_prefix(prefix: bytes) -> tuple[int, Kind]:
    """Payload length and kind. ``IroshError`` (protocol-error) when outside the limits."""
    length, kind = PREFIX.unpack(prefix)
    if length > MAX_PAYLOAD:
        raise IroshError(ErrorCode.PROTOCOL, f"a control frame of {length} bytes is over the limit")
    try:
        return length, Kind(kind)
    except ValueError:
        raise IroshError(ErrorCode.PROTOCOL, f"unknown control frame kind {kind}") from None


def parse_message(payload: bytes) -> dict[str, Any]:
    """The JSON object of a MESSAGE frame. ``IroshError`` (protocol-error)."""
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        raise IroshError(ErrorCode.PROTOCOL, "a control message is not JSON") from None
    if not isinstance(message, dict):
        raise IroshError(ErrorCode.PROTOCOL, "a control message is not an object")
    return message


class FrameParser:
    """Cuts a byte stream into frames: feed bytes, take ``(kind, payload)`` pairs."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[tuple[Kind, bytes]]:
        """The frames completed by ``data``. ``IroshError`` (protocol-error) on a broken stream."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= PREFIX.size:
            length, kind = parse_prefix(bytes(self._buffer[: PREFIX.size]))
            end = PREFIX.size + length
            if len(self._buffer) < end:
                break
            frames.append((kind, bytes(self._buffer[PREFIX.size : end])))
            del self._buffer[:end]
        return frames
