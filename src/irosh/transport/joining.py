"""Joining two streams: what comes from one goes to the other."""

from __future__ import annotations

from typing import Protocol

from irosh.transport.interfaces import ByteStream
from irosh.transport.tasks import task_group, to_the_end

CHUNK = 64 * 1024


class ClosableStream(ByteStream, Protocol):
    """One that has an orderly end for both ways."""

    async def close(self) -> None:
        """Nothing more is read or written here; what was written still arrives. Never raises."""


async def join(one: ByteStream, other: ByteStream) -> None:
    """Copy both ways until both have ended. An end of stream is passed on; a failure of one ends both, and is raised.

    Raises what reading and writing raise.
    """
    try:
        async with task_group() as group:
            group.create_task(_copy(one, other))
            group.create_task(_copy(other, one))
    except BaseException:
        await to_the_end(one.abort())
        await to_the_end(other.abort())
        raise


async def _copy(source: ByteStream, target: ByteStream) -> None:
    while data := await source.read(CHUNK):
        await target.write(data)
    await target.finish()
