"""How many of something that costs the host much a peer may have at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

from irosh.core.crowd import Crowd
from irosh.core.errors import ErrorCode, IroshError
from irosh.node.services import IncomingStream


class Places:
    """At most ``most`` for each peer, over all its connections. ``what`` they are, for the peer that wants more."""

    def __init__(self, most: int, what: str) -> None:
        self._what = what
        self._crowd = Crowd(most)

    @contextmanager
    def place(self, peer_id: str) -> Iterator[None]:
        """A place for one more. ``IroshError`` (busy)."""
        if not self._crowd.enter(peer_id):
            raise IroshError(ErrorCode.BUSY, f"you have {self._crowd.most} {self._what}, which is the most")
        try:
            yield
        finally:
            self._crowd.leave(peer_id)

    async def serve(self, incoming: IncomingStream, serve: Callable[[IncomingStream], Awaitable[None]]) -> None:
        """Have ``serve`` serve the stream in a place of its peer; it is refused when there is none."""
        with ExitStack() as place:
            try:
                place.enter_context(self.place(incoming.connection.peer_id))
            except IroshError as error:
                await incoming.refuse(error)
                return
            await serve(incoming)
