"""A stream joined to a socket that a command hands over; how that ended is told on its control connection."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control import Channel

Join = Callable[[socket.socket], Awaitable[Exception | None]]
"""Copies both ways between a stream and a socket, which it closes; returns what broke it off."""


async def join_handed_socket(channel: Channel, fields: Mapping[str, Any], join: Join) -> None:
    """Tell the command that the stream is open, by the event ``opened``, and carry it by the socket that it hands over.

    The good answer means that the stream ended in order; raises the ``IroshError`` of one that was broken off.
    """
    with channel.descriptors() as descriptors:
        await channel.event("opened", **fields)
        await channel.receive_message()
        if descriptors.empty():
            raise IroshError(ErrorCode.PROTOCOL, "the client has handed over no socket")
        sock = socket.socket(fileno=descriptors.get_nowait())
    async with channel.minding():
        failure = await join(sock)
    if isinstance(failure, IroshError):
        raise failure
    if failure is not None:
        raise IroshError(ErrorCode.CONNECTION_LOST, "the connection was broken off at its far end")
    await channel.answer()
