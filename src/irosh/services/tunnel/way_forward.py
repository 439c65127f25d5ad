"""``-R`` where the far end is reached through other machines: it listens, and brings its connections by that way."""

from __future__ import annotations

import logging

from irosh.core.wording import escape
from irosh.node.forward_way import ListenerThere
from irosh.services.tunnel.forward import Forward, WayContext
from irosh.services.tunnel.messages import ForwardText
from irosh.services.tunnel.remote_forward import connected, dynamic
from irosh.transport.interfaces import Stream, StreamReset
from irosh.transport.tasks import TaskSet

log = logging.getLogger(__name__)


class WayRemoteForward(Forward):
    """See :class:`irosh.services.tunnel.forward.Forward`."""

    def __init__(self, asked: ForwardText, context: WayContext) -> None:
        super().__init__(asked, context)
        self._way = context.way
        self._target = asked.destination()
        self._listener: ListenerThere | None = None
        self._connections = TaskSet()

    def link_restored(self) -> None:
        """A way that is broken is not mended."""

    async def start(self) -> None:
        self._listener = await self._way.listen(self.asked.host, self.asked.port, self.asked.path, self._take)
        self.listens = [self._listener.at]

    async def stop(self) -> None:
        if self._listener is not None:
            await self._listener.close()
            self._listener = None

    async def abort(self) -> None:
        await self._connections.close()

    def _take(self, stream: Stream, name: str) -> None:
        self._connections.start(self._serve(stream, escape(name, 100)))

    async def _serve(self, stream: Stream, name: str) -> None:
        with self.carrying(name, str(self._target or "SOCKS")) as carried:
            try:
                sock = await (connected(self._target) if self._target is not None else dynamic(stream, carried))
                await stream.splice(sock, carried.counters)
            except (StreamReset, OSError, EOFError) as error:
                log.debug("forward from %s: %s", name, error)
            finally:
                await stream.close()
