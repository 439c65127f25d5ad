"""How many of something that costs the host much a peer may have at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.services import IncomingStream


class Places:
    """At most ``most`` for each peer, over all its connections. ``what`` they are, for the peer that wants more."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken: Counter[str] = Counter()

    @contextmanager
    def place(self, peer_id: str) -> Iterator[None]:
        """A place for one more. ``IroshError`` (busy)."""
        if self._taken[peer_id] >= self._most:
            raise IroshError(ErrorCode.BUSY, f"you have {self._most} {self._what}, which is the most")
        self._taken[peer_id] += 1
        try:
            yield
        finally:
            self._taken[peer_id] -= 1
            if not self._taken[peer_id]:
                del self._taken[peer_id]

    async def serve(self, incoming: IncomingStream, serve: Callable[[IncomingStream], Awaitable[None]]) -> None:
        """Have ``serve`` serve the stream in a place of its peer; it is refused when there is none."""
        with ExitStack() as place:
            try:
                place.enter_context(self.place(incoming.connection.peer_id))
            except IroshError as error:
                await incoming.refuse(error)
                return
            await serve(incoming)
