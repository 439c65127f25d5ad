"""``-R``, on the side that asked for it: has the peer listen, and serves the connections that it brings back.

The peer listens as long as the stream by which it was asked lives; that goes on over a resumed session. When a session
has ended for good and there is a new one, it is asked again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec, parse_listen
from irosh.core.socks import Reply, SocksError, answer, reply_for
from irosh.core.wording import escape
from irosh.node.actions import Action, BringBack
from irosh.node.authorization import resolve
from irosh.node.control import Operation
from irosh.node.node import Node
from irosh.node.services import IncomingStream
from irosh.services.tunnel.forward import Carried, Forward, LinkContext
from irosh.services.tunnel.local_forward import target_of
from irosh.services.tunnel.messages import ForwardedRequest, ForwardText, Listening, ListenRequest
from irosh.services.tunnel.promises import Promises
from irosh.services.tunnel.socks_server import hear_request
from irosh.transport.framing import read_frame
from irosh.transport.interfaces import ConnectionLost, Stream, StreamReset
from irosh.transport.sockets import closed_on_failure, connect_source
from irosh.transport.tasks import TaskSet, first_to_end

log = logging.getLogger(__name__)

LISTENING_DEADLINE = 30.0
_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between attempts to have the old port again
# What may mend itself: the peer has not yet noticed that the session before has ended.
_PASSES = (
    ErrorCode.PORT_TAKEN,
    ErrorCode.TIMEOUT,
    ErrorCode.BUSY,
    ErrorCode.CONNECTION_LOST,
    ErrorCode.UNREACHABLE,
    ErrorCode.NO_PATH,
)


class RemoteForward(Forward):
    """See :class:`irosh.services.tunnel.forward.Forward`."""

    def __init__(self, asked: ForwardText, context: LinkContext) -> None:
        super().__init__(asked, context)
        self._link = context
        self._target = asked.destination()
        self._restored = asyncio.Event()
        self._aborted = asyncio.Event()
        self._keeping = TaskSet()

    async def start(self) -> None:
        asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._keeping.start(self._keep(asked))
        try:
            await asked
        except BaseException:
            await self._keeping.close()
            raise

    async def stop(self) -> None:
        await self._keeping.close()

    async def abort(self) -> None:
        self._aborted.set()

    def link_restored(self) -> None:
        self._restored.set()

    # -- having the peer listen

    async def _keep(self, asked: asyncio.Future[None]) -> None:
        """Hold the listener until cancelled. ``asked`` is told of the first attempt, reports of what fails later."""
        pause = _PAUSE
        while True:
            self._restored.clear()
            try:
                await self._hold(asked)
                raise IroshError(ErrorCode.CONNECTION_LOST, "the peer listens no more")
            except (IroshError, StreamReset) as failure:
                error = _told(failure)
                if not asked.done():
                    asked.set_exception(error)
                    return
                self.refused("", "listen", error)
                if isinstance(failure, ConnectionLost):
                    await self._restored.wait()
                    pause = _PAUSE
                    continue
                if error.code not in _PASSES:
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _hold(self, asked: asyncio.Future[None]) -> None:
        """Have the peer listen; returns when it does so no more."""
        connection = await self._link.connect()
        wanted = self.asked.listens()
        if self.listens and not self.asked.port:
            # What was chosen for port 0 is known to others now.
            wanted = [replace(spec, port=self.listens[0].port) for spec in wanted]
        with (
            connection.authorizer.promise(connection.peer_id) as token,
            self._link.promises.keep(token, self),
        ):
            request = ListenRequest([str(spec) for spec in wanted], token)
            opened = await connection.open("listen", request)
            try:
                await opened.answer()
                said = await read_frame(opened.stream, Listening, deadline=LISTENING_DEADLINE)
                self.listens = [parse_listen(text) for text in said.listens[: len(wanted)]]
                if not self.listens:
                    raise IroshError(ErrorCode.PROTOCOL, "the peer does not say where it listens")
                if not asked.done():
                    asked.set_result(None)
                while await opened.stream.read(1024):
                    pass  # nothing is said there any more
            finally:
                await opened.stream.abort()

    # -- serving what it brings

    async def serve(self, incoming: IncomingStream) -> None:
        """Serve one connection that the peer brings, an authorized one."""
        request: ForwardedRequest = incoming.request
        name = escape(request.origin, 100)
        with self.carrying(name, str(self._target or "SOCKS")) as carried:
            await first_to_end(self._aborted.wait(), self._serve(incoming, carried))

    async def _serve(self, incoming: IncomingStream, carried: Carried) -> None:
        if self._target is None:
            await incoming.accept()
            sock = await dynamic(incoming.stream, carried)
        else:
            try:
                sock = await connected(self._target)
            except IroshError as error:
                await incoming.refuse(error)
                raise
            with closed_on_failure(sock):
                await incoming.accept()
        await incoming.stream.splice(sock, carried.counters)


async def dynamic(stream: Stream, carried: Carried) -> socket.socket:
    """A connection to what the client behind ``stream`` asks for by SOCKS."""
    request = await hear_request(stream)
    target = target_of(request)
    if target is None:
        await stream.write(answer(request, Reply.COMMAND_NOT_SUPPORTED))
        await stream.finish()
        raise SocksError("UDP is not served by a remote forward")
    carried.target = str(target)
    try:
        sock = await connected(target)
    except IroshError as error:
        await stream.write(answer(request, reply_for(error)))
        await stream.finish()
        raise
    with closed_on_failure(sock):
        await stream.write(answer(request, Reply.SUCCEEDED))
    return sock


async def connected(target: SocketSpec) -> socket.socket:
    """A connection from this machine. No policy is asked: who asked for the forward asked for this."""
    if target.protocol == "unix":
        return await connect_source(target, [await asyncio.to_thread(os.path.realpath, target.path)])
    return await connect_source(target, await resolve(target) or [target.host])


def _told(failure: IroshError | StreamReset) -> IroshError:
    if isinstance(failure, IroshError):
        return failure
    return IroshError(ErrorCode.CONNECTION_LOST, f"the peer listens no more: {failure}")


class ForwardedService:
    """Service ``forwarded``, of the side that asked for a remote forward; see :class:`irosh.node.services.Service`."""

    name = "forwarded"
    request_type = ForwardedRequest

    def __init__(self, promises: Promises) -> None:
        self._promises = promises

    def operations(self, node: Node) -> dict[str, Operation]:
        return {}

    def required(self, request: Any) -> Sequence[Action]:
        assert isinstance(request, ForwardedRequest)
        return (BringBack(request.token, request.listen),)

    async def serve(self, incoming: IncomingStream) -> None:
        forward = self._promises.find(incoming.request.token)
        if forward is None:
            await incoming.refuse(IroshError(ErrorCode.DENIED, "the forward has just ended"))
            return
        await forward.serve(incoming)
