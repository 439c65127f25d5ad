"""The shell service: SSH on a stream, for irosh's own commands and, through ``irosh proxy``, for any SSH client."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.policy import PlainCapability
from irosh.node.actions import Action, Enter, Use
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.forward_way import ForwardWay
from irosh.node.handed_socket import join_handed_socket
from irosh.node.link_events import link_events
from irosh.node.machine_names import with_gateways
from irosh.node.node import Node
from irosh.node.operations import reached_summary
from irosh.node.places import Places
from irosh.node.services import IncomingStream
from irosh.node.ways import Passage, Way
from irosh.services.shell.messages import ConnectRequest, GuestRequest, ProxyRequest, ShellRequest, WayRequest, is_plain
from irosh.services.shell.port import serve_port_request
from irosh.services.shell.ssh_library import load_ssh_library
from irosh.services.shell.subsystems import Subsystems
from irosh.transport.interfaces import SpliceCounters
from irosh.transport.tasks import task_group

if TYPE_CHECKING:
    from irosh.services.shell.client import SSHClients
    from irosh.services.shell.persistent.service import SessionService

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 256  # of SSH, of one peer; all commands of a user share one
# Any of these lets a peer speak SSH to the host, for itself or for others; each channel is then checked by itself.
ENTRY: tuple[PlainCapability, ...] = ("shell", "exec", "files", "forward", "listen", "jump", "gateway")


class ShellService:
    """Service ``shell``; see :class:`irosh.node.services.Service`."""

    name = "shell"
    request_type = ShellRequest

    def __init__(self, identity: Identity, subsystems: Subsystems, programs: Places, kept: SessionService) -> None:
        self._identity = identity
        self._subsystems = subsystems
        self._kept = kept
        self._programs = programs
        self._places = Places(MAX_CONNECTIONS, "SSH connections open")
        self._clients: SSHClients | None = None
        self._node: Node | None = None

    def required(self, request: Any) -> Sequence[Action]:
        """SSH itself asks a stock client for second factors; irosh's own gives them before."""
        assert isinstance(request, ShellRequest)
        if request.on_behalf:
            return (Use(ENTRY),)  # what is used is a matter of whoever is brought
        entry = Use(ENTRY) if request.key_auth else Enter(ENTRY)
        return (entry, Use(("agent",))) if request.agent else (entry,)

    async def serve(self, incoming: IncomingStream) -> None:
        await self._places.serve(incoming, self._serve)

    async def _serve(self, incoming: IncomingStream) -> None:
        await load_ssh_library()
        from irosh.services.shell.serving import SSHHost, serve_ssh

        assert self._node is not None
        host = SSHHost(self._node, self._identity, self._subsystems, self._programs, ENTRY, self._kept.adoptables)
        await serve_ssh(host, incoming)

    def operations(self, node: Node) -> dict[str, Operation]:
        self._node = node

        async def connect(channel: Channel, request: dict[str, Any]) -> None:
            await self._connect(node, channel, request)

        async def proxy(channel: Channel, request: dict[str, Any]) -> None:
            await self._proxy(node, channel, request)

        async def listen(channel: Channel, request: dict[str, Any]) -> None:
            await serve_port_request(node, channel, request)

        return {"connect": connect, "proxy": proxy, "proxy.listen": listen}

    def find_way(self, channel: Channel, request: dict[str, Any]) -> AbstractAsyncContextManager[ForwardWay] | None:
        """See :data:`irosh.node.forward_way.FindWay`."""
        assert self._node is not None
        asked = with_gateways(self._node.trust, parsed_request(request, WayRequest))
        return self._way(channel, asked) if is_plain(asked) else None

    @contextlib.asynccontextmanager
    async def _way(self, channel: Channel, asked: WayRequest) -> AsyncIterator[ForwardWay]:
        await load_ssh_library()
        from irosh.services.shell.through import way_through

        assert self._node is not None
        async with way_through(self._node, self._identity, channel, asked) as way:
            yield way

    async def travel(self, way: Way, peer_id: str) -> Passage:
        """See :data:`irosh.node.ways.Travel`."""
        assert self._node is not None
        await load_ssh_library()
        from irosh.services.shell.through import travel

        return await travel(self._node, self._identity, way, peer_id)

    async def aclose(self) -> None:
        """End the SSH connections to peers."""
        if self._clients is not None:
            await self._clients.aclose()

    async def _connect(self, node: Node, channel: Channel, request: dict[str, Any]) -> None:
        session = with_gateways(node.trust, parsed_request(request, ConnectRequest))
        if is_plain(session):
            await load_ssh_library()
            from irosh.services.shell.through import connect_through

            await connect_through(node, self._identity, channel, session)
            return
        # The library is imported while the network is waited for.
        async with task_group() as group:
            group.create_task(load_ssh_library())
            reached = await channel.while_connected(node.reach(session, ChannelExchange(channel)))
        from irosh.services.shell.client import SSHClients, run_session
        from irosh.services.shell.offering import as_set_for, own_link

        session = await as_set_for(reached.peer, session)
        if self._clients is None:
            self._clients = SSHClients(self._identity)
        try:
            async with contextlib.AsyncExitStack() as stack:
                if session.forward_agent == "no":
                    ssh = await stack.enter_async_context(self._clients.use(reached.connection, session.user))
                else:
                    ssh = await stack.enter_async_context(own_link(self._identity, reached, session, channel))
                movable = None
                # One that offers an agent may not be shared: its guests could use the keys.
                if session.terminal is not None and session.forward_agent == "no":
                    movable = await stack.enter_async_context(self._kept.movable.made(reached.connection))
                handle = {} if movable is None else {"handle": movable.handle}
                await channel.event("connected", **reached_summary(reached), **handle, node=os.getpid())
                await stack.enter_async_context(link_events(reached.connection.session, channel))
                end = await run_session(ssh, session, channel, movable)
                if end is None:
                    assert movable is not None and movable.opened is not None
                    from irosh.services.shell.persistent.client import carry_terminal

                    await carry_terminal(movable.opened, channel, terminal=True)
                    return
        except IroshError as error:
            link = reached.connection.session
            if error.code is ErrorCode.CONNECTION_LOST and link.is_closed:
                raise link.close_reason() from None  # the peer may have said why
            raise
        await channel.answer(end)

    async def _proxy(self, node: Node, channel: Channel, request: dict[str, Any]) -> None:
        """Operation ``proxy``: the SSH stream, carried by a socket that the client hands over."""
        asked = with_gateways(node.trust, parsed_request(request, ProxyRequest))
        if is_plain(asked):
            await load_ssh_library()
            from irosh.services.shell.through import proxy_through

            await proxy_through(node, self._identity, channel, asked)
            return
        reached = await channel.while_connected(node.reach(asked, ChannelExchange(channel), proven=False))
        service, wanted = ("guest", GuestRequest()) if asked.on_behalf else ("shell", ShellRequest())
        opened = await reached.connection.open(service, wanted)
        await opened.answer()
        fields = reached_summary(reached)
        await join_handed_socket(channel, fields, lambda sock: opened.stream.splice(sock, SpliceCounters()))
