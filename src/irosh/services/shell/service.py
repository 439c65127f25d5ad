"""The shell service: SSH on a stream, for irosh's own commands and, through ``irosh proxy``, for any SSH client."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.policy import PlainCapability
from irosh.node.authorization import Action, Enter, Use
from irosh.node.control import Channel, Operation, parsed_request
from irosh.node.exchange import ChannelExchange
from irosh.node.link_events import link_events
from irosh.node.node import Node, Reached
from irosh.node.operations import path_summary
from irosh.node.services import IncomingStream
from irosh.node.targets import TargetRequest
from irosh.node.verification import Verification
from irosh.services.shell.messages import ConnectRequest, ShellRequest
from irosh.services.shell.port import serve_port_request
from irosh.services.shell.ssh_library import load_ssh_library
from irosh.services.shell.subsystems import ProgramLimit, Subsystems
from irosh.transport.interfaces import SpliceCounters
from irosh.transport.tasks import task_group

if TYPE_CHECKING:
    from irosh.services.shell.client import SSHClients

log = logging.getLogger(__name__)

LOGIN_DEADLINE = 30.0
ASKING_DEADLINE = 120.0  # where a person has to answer, as sshd's LoginGraceTime
MAX_PROGRAMS = 64  # of one peer: each takes some 10 MB
# Any of these lets a peer speak SSH to the host; each channel is then checked by itself.
_ENTRY: tuple[PlainCapability, ...] = ("shell", "exec", "files", "forward", "listen")


class ShellService:
    """Service ``shell``; see :class:`irosh.node.services.Service`."""

    name = "shell"
    request_type = ShellRequest

    def __init__(self, identity: Identity, subsystems: Subsystems) -> None:
        self._identity = identity
        self._subsystems = subsystems
        self._programs = ProgramLimit(MAX_PROGRAMS)
        self._clients: SSHClients | None = None

    def required(self, request: Any) -> Sequence[Action]:
        """SSH itself asks a stock client for second factors; irosh's own gives them before."""
        return (Use(_ENTRY) if request.key_auth else Enter(_ENTRY),)

    async def serve(self, incoming: IncomingStream) -> None:
        await load_ssh_library()
        import asyncssh

        from irosh.services.shell.client import CIPHERS, OLD_CIPHERS
        from irosh.services.shell.login_keys import required_key
        from irosh.services.shell.server import IroshSSHServer, SSHContext
        from irosh.services.shell.ssh_factors import SSHFactors
        from irosh.transport.asyncio_transport import StreamTunnel

        request: ShellRequest = incoming.request
        # What is given to SSH counts for this SSH connection.
        incoming = replace(incoming, verification=Verification(within=incoming.verification))
        peer_id = incoming.connection.peer_id
        login_key = required_key(request, peer_id)
        await incoming.accept()
        tunnel = StreamTunnel(incoming.stream)
        try:
            async with task_group() as group:
                context = SSHContext(
                    petname=incoming.petname,
                    authorize=incoming.authorize,
                    authorize_now=incoming.authorize_now,
                    group=group,
                    transport=lambda: tunnel.transport,
                    environment={"IROSH_PEER": incoming.petname, "IROSH_PEER_ID": peer_id},
                    permits=incoming.permits,
                    subsystems=self._subsystems,
                    program_place=lambda: self._programs.place(peer_id),
                    terms=incoming.terms,
                )
                factors = SSHFactors(incoming.connection.authorizer.gate, peer_id, incoming.verification)
                try:
                    async with asyncio.timeout(ASKING_DEADLINE if factors.missing else LOGIN_DEADLINE):
                        connection = await asyncssh.connect_reverse(
                            "peer",
                            tunnel=tunnel,
                            config=None,
                            server_factory=lambda: IroshSSHServer(context, login_key, factors),
                            server_host_keys=[asyncssh.import_private_key(self._identity.openssh_private_key())],
                            encoding=None,
                            line_editor=False,
                            encryption_algs=(*CIPHERS, *OLD_CIPHERS),
                            compression_algs=("none",),
                            agent_forwarding=False,
                            x11_forwarding=False,
                            password_auth=False,
                            kbdint_auth=True,
                            gss_auth=False,
                            gss_host=None,  # its default asks the name server for this machine's own name
                            allow_scp=False,
                            rekey_bytes=1 << 40,
                            keepalive_interval=0,
                        )
                except (asyncssh.Error, OSError, TimeoutError) as error:
                    log.info("%s: ssh login failed: %s", incoming.petname, error)
                    return
                await connection.wait_closed()
        finally:
            await tunnel.aclose()

    def operations(self, node: Node) -> dict[str, Operation]:
        async def connect(channel: Channel, request: dict[str, Any]) -> None:
            await self._connect(node, channel, request)

        async def proxy(channel: Channel, request: dict[str, Any]) -> None:
            await _proxy(node, channel, request)

        async def listen(channel: Channel, request: dict[str, Any]) -> None:
            await serve_port_request(node, channel, request)

        return {"connect": connect, "proxy": proxy, "proxy.listen": listen}

    async def aclose(self) -> None:
        """End the SSH connections to peers."""
        if self._clients is not None:
            await self._clients.aclose()

    async def _connect(self, node: Node, channel: Channel, request: dict[str, Any]) -> None:
        session = parsed_request(request, ConnectRequest)
        # The library is imported while the network is waited for.
        async with task_group() as group:
            group.create_task(load_ssh_library())
            reached = await channel.while_connected(node.reach(session, ChannelExchange(channel)))
        from irosh.services.shell.client import SSHClients, run_session

        if self._clients is None:
            self._clients = SSHClients(self._identity)
        try:
            ssh = await self._clients.get(reached.connection, session.user)
            await channel.event("connected", **_reached(reached), node=os.getpid())
            async with link_events(reached.connection.session, channel):
                end = await run_session(ssh, session, channel)
        except IroshError as error:
            link = reached.connection.session
            if error.code is ErrorCode.CONNECTION_LOST and link.is_closed:
                raise link.close_reason() from None  # the peer may have said why
            raise
        await channel.answer(end)


async def _proxy(node: Node, channel: Channel, request: dict[str, Any]) -> None:
    """Operation ``proxy``: after one answer the control connection carries the bytes of the stream itself."""
    asked = parsed_request(request, TargetRequest)
    reached = await channel.while_connected(node.reach(asked, ChannelExchange(channel), proven=False))
    opened = await reached.connection.open("shell", ShellRequest())
    await opened.answer()
    await channel.answer(_reached(reached))
    await opened.stream.splice(channel.socket, SpliceCounters())


def _reached(reached: Reached) -> dict[str, Any]:
    return {
        "peer": reached.peer.petname,
        "id": reached.peer.id,
        "new": reached.newly_pinned,
        **path_summary(reached.connection),
    }
