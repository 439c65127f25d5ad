"""The other side: a command's terminal at a session of a peer, over a stream."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control import Channel, Gone
from irosh.node.link_events import link_events
from irosh.node.node import Reached
from irosh.node.operations import reached_summary
from irosh.node.peer_connection import OpenedStream
from irosh.services.shell.persistent.codec import Answer, Frame, FrameKind, decode, encode
from irosh.services.shell.persistent.lines import ChannelLine, Line, StreamLine, result_of
from irosh.services.shell.persistent.messages import ManageRequest, SessionRequest
from irosh.transport.interfaces import StreamReset
from irosh.transport.session.lifetime import SessionLifetime
from irosh.transport.tasks import first_to_end

ANSWER_DEADLINE = 30.0
FAREWELL = 2.0  # seconds for which a node that ends waits for a command to take what gives its terminal back

# What the host sends; a frame of another kind is none of a session's.
_FROM_HOST = frozenset({FrameKind.WELCOME, FrameKind.OUTPUT, FrameKind.NOTICE, FrameKind.ANSWER, FrameKind.END})


async def attach_to_peer(reached: Reached, channel: Channel, request: SessionRequest) -> None:
    """Carry the terminal of ``channel`` until the session has ended, or its terminal has left it."""
    session = reached.connection.session
    async with link_errors(session):
        opened = await reached.connection.open("session", request)
        await opened.answer()
        await channel.event("connected", **reached_summary(reached), node=os.getpid())
        async with link_events(session, channel):
            await carry_terminal(opened, channel, terminal=request.size is not None)


async def carry_terminal(opened: OpenedStream, channel: Channel, *, terminal: bool) -> None:
    """Between the stream of a session and the command that carries the terminal, if it has one."""
    session = opened.connection.session
    async with link_errors(session):
        here, there = ChannelLine(channel, terminal=terminal), StreamLine(opened.stream)
        patience: float | None = None  # as long as the command is there
        try:
            await first_to_end(_to_terminal(there, here), _from_terminal(channel, here, there))
        except asyncio.CancelledError:
            patience = FAREWELL
            raise
        finally:
            await opened.stream.abort()
            if not here.answered:
                with suppress(Gone, TimeoutError):
                    async with asyncio.timeout(patience):
                        await here.leave(in_the_middle=True)
        if not here.answered:
            raise _dropped()


@asynccontextmanager
async def link_errors(session: SessionLifetime) -> AsyncIterator[None]:
    """A stream that ends with its link ends for the link's reason."""
    try:
        yield
    except IroshError as error:
        if error.code is ErrorCode.CONNECTION_LOST and session.is_closed:
            error = session.close_reason()
        if error.code is ErrorCode.SHUTTING_DOWN:
            error = IroshError(error.code, "irosh on the host has stopped", "its sessions have ended with it")
        raise error from None
    except StreamReset:
        raise (session.close_reason() if session.is_closed else _dropped()) from None


def _dropped() -> IroshError:
    return IroshError(ErrorCode.CONNECTION_LOST, "the host has ended the stream of the session")


async def _to_terminal(there: Line, here: ChannelLine) -> None:
    while not here.answered and (frames := await there.receive()):
        await here.send(_checked(frames))


async def _from_terminal(channel: Channel, here: Line, there: Line) -> None:
    while True:
        frames = await here.receive()
        async with channel.minding():
            await there.send(frames)


def _checked(frames: list[Frame]) -> list[Frame]:
    for kind, _ in frames:
        if kind not in _FROM_HOST:
            raise IroshError(ErrorCode.PROTOCOL, f"a host does not send {kind.name}")
    return frames


async def manage_at_peer(reached: Reached, asked: ManageRequest) -> dict[str, Any]:
    """Do one command about sessions at a peer."""
    opened = await reached.connection.open("session", SessionRequest("manage"))
    await opened.answer()
    line = StreamLine(opened.stream)
    try:
        await line.send([(FrameKind.MANAGE, encode(asked.manage()))])
        async with asyncio.timeout(ANSWER_DEADLINE):
            frames = await line.receive()
        for kind, payload in frames:
            if kind is FrameKind.ANSWER:
                return result_of(decode(payload, Answer))
    except StreamReset:
        pass  # as if it had answered nothing
    except TimeoutError:
        raise IroshError(ErrorCode.TIMEOUT, "the host does not answer") from None
    finally:
        await opened.stream.abort()
    raise IroshError(ErrorCode.CONNECTION_LOST, "the host has not answered")
