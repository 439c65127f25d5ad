"""``-L`` and ``-D``: listen here, and have the peer connect to one target or to what each connection asks by SOCKS."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec
from irosh.core.socks import Command, Reply, Request, SocksError, answer, reply_for
from irosh.services.tunnel.carrying import carry_by
from irosh.services.tunnel.forward import Carried, Forward, ForwardContext, LinkContext
from irosh.services.tunnel.messages import ForwardText
from irosh.services.tunnel.socks_server import hear_request, serve_udp, serves_udp
from irosh.transport.interfaces import StreamReset
from irosh.transport.socket_stream import SocketStream
from irosh.transport.sockets import Bound, accept_each, bind_all, close_listener, tune
from irosh.transport.tasks import TaskSet

log = logging.getLogger(__name__)


class LocalForward(Forward):
    """See :class:`irosh.services.tunnel.forward.Forward`."""

    def __init__(self, asked: ForwardText, context: ForwardContext) -> None:
        super().__init__(asked, context)
        self._target = asked.destination()
        self._listeners: list[Bound] = []
        self._listening = TaskSet()
        self._connections = TaskSet()

    def link_restored(self) -> None:
        """Each connection asks for the session that there is."""

    async def start(self) -> None:
        if self._target is not None:
            await self._check(self._target)
        self._listeners = await bind_all(self.asked.listens(), unlink=self.asked.unlink)
        self.listens = [spec for spec, _ in self._listeners]
        for _, listener in self._listeners:
            self._listening.start(accept_each(listener, self._take, self._crowded))

    async def stop(self) -> None:
        await self._listening.close()
        for _, listener in self._listeners:
            close_listener(listener)
        self._listeners.clear()

    async def abort(self) -> None:
        await self._connections.close()

    async def _check(self, target: SocketSpec) -> None:
        """A target that the policy does not allow is an error now; one that is not there yet may come."""
        try:
            await self.context.check(target)
        except IroshError as error:
            if error.code is ErrorCode.DENIED:
                raise

    def _take(self, client: socket.socket, name: str) -> None:
        self._connections.start(self._serve(client, name))

    def _crowded(self, error: IroshError) -> None:
        self.refused("", str(self._target or "SOCKS"), error)

    async def _serve(self, client: socket.socket, name: str) -> None:
        with contextlib.closing(client), self.carrying(name, str(self._target or "SOCKS")) as carried:
            try:
                if self._target is not None:
                    await carry_by(functools.partial(self.context.open, self._target), client, carried.counters)
                else:
                    await self._serve_socks(client, carried)
            except (StreamReset, OSError, EOFError) as error:
                log.debug("forward from %s: %s", name, error)

    async def _serve_socks(self, client: socket.socket, carried: Carried) -> None:
        tune(client)
        talk = SocketStream(client)
        request = await hear_request(talk)
        if isinstance(self.context, LinkContext) and serves_udp(request, client):
            carried.target = "SOCKS UDP"
            await serve_udp(
                client,
                request,
                self.context.connect,
                lambda source, error: self.refused(carried.peer, str(source), error),
                carried.counters,
                idle=self.context.udp_idle,
            )
            return
        target = target_of(request)
        if target is None:
            await talk.write(answer(request, Reply.COMMAND_NOT_SUPPORTED))
            raise SocksError("UDP is not served by a Unix socket, nor through other machines")
        carried.target = str(target)
        try:
            opened = await self.context.open(target)
        except IroshError as error:
            await talk.write(answer(request, reply_for(error)))
            raise
        try:
            await opened.answer()
            await talk.write(answer(request, Reply.SUCCEEDED))
        except IroshError as error:
            await talk.write(answer(request, reply_for(error)))
            raise
        except BaseException:
            await opened.stream.abort()
            raise
        await opened.stream.splice(client, carried.counters)


def target_of(request: Request) -> SocketSpec | None:
    """Where CONNECT wants to; None for the other commands."""
    if request.command is not Command.CONNECT:
        return None
    return SocketSpec("tcp", host=request.host, port=request.port)
