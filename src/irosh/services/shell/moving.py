"""Sessions of this node's commands that can move, while they run, from SSH to a stream of service ``session``."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.peer_connection import OpenedStream, PeerConnection
from irosh.services.shell.persistent.messages import SessionRequest


class MovableSession:
    """One session at a peer. ``handle``: what the peer is told to call it. ``moved``: it has another stream now."""

    def __init__(self, connection: PeerConnection) -> None:
        self.handle = secrets.token_hex(16)
        self.moved = asyncio.Event()
        self.opened: OpenedStream | None = None
        self._connection = connection
        self._name = f"shared-{secrets.token_hex(2)}"
        self._moving: asyncio.Task[None] | None = None

    async def move(self) -> str:
        """Have the host keep it; its name there. ``IroshError`` (denied, session-unknown, …): all is as it was.

        Once begun it goes on when the caller is cancelled: the host may have let go of the SSH session already.
        """
        if self._moving is None or (self._moving.done() and not self.moved.is_set()):
            self._moving = asyncio.create_task(self._move())
        await asyncio.shield(self._moving)
        return self._name

    async def _move(self) -> None:
        self.opened = await self._connection.open("session", SessionRequest("adopt", self._name, handle=self.handle))
        await self.opened.answer()
        self.moved.set()

    async def end(self) -> None:
        """Move no more, and end the stream if there is one."""
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.gather(self._moving, return_exceptions=True)
        if self.opened is not None:
            await self.opened.stream.abort()


@dataclass
class MovableSessions:
    """Those of one node, by their handles."""

    _sessions: dict[str, MovableSession] = field(default_factory=dict)

    @asynccontextmanager
    async def made(self, connection: PeerConnection) -> AsyncIterator[MovableSession]:
        """One that can be found, and moved, while the context lasts."""
        session = MovableSession(connection)
        self._sessions[session.handle] = session
        try:
            yield session
        finally:
            del self._sessions[session.handle]
            await session.end()

    async def move(self, handle: str) -> str:
        """See :meth:`MovableSession.move`."""
        session = self._sessions.get(handle)
        if session is None:
            raise IroshError(ErrorCode.SESSION_UNKNOWN, "that session has ended")
        return await session.move()
