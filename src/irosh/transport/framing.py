"""Frames of :mod:`irosh.core.wire` on a stream, each read with a size limit and a deadline."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wire import LENGTH_SIZE, decode_body, encode_frame, frame_length
from irosh.transport.interfaces import ByteStream

M = TypeVar("M", bound=msgspec.Struct)


async def read_frame(stream: ByteStream, kind: type[M], *, deadline: float) -> M:
    """One frame, within ``deadline`` seconds. ``IroshError``: protocol-error, timeout; besides what reading raises."""
    try:
        async with asyncio.timeout(deadline):
            length = frame_length(await stream.read_exactly(LENGTH_SIZE))
            body = await stream.read_exactly(length)
    except TimeoutError:
        raise IroshError(ErrorCode.TIMEOUT, f"no {kind.__name__} frame within {deadline:g} s") from None
    except EOFError:
        raise IroshError(ErrorCode.PROTOCOL, f"the stream ended inside a {kind.__name__} frame") from None
    return decode_body(body, kind)


async def write_frame(stream: ByteStream, message: msgspec.Struct) -> None:
    """Write one frame."""
    await stream.write(encode_frame(message))
