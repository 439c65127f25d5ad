"""Serving SSH on one stream: for the peer itself, or for somebody whom it brings."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from dataclasses import dataclass, replace

import asyncssh

from irosh.core.errors import IroshError
from irosh.core.identity import Identity
from irosh.core.policy import PlainCapability
from irosh.node.actions import Use
from irosh.node.node import Node
from irosh.node.places import Places
from irosh.node.services import IncomingStream
from irosh.node.verification import Verification
from irosh.services.shell.adoption import Adoptables
from irosh.services.shell.guest_server import GuestSSHServer, refuse, refuse_now
from irosh.services.shell.ignored_packets import send_no_ignored
from irosh.services.shell.login import ASKING_DEADLINE, CIPHERS, LOGIN_DEADLINE, OLD_CIPHERS
from irosh.services.shell.login_keys import required_key
from irosh.services.shell.messages import ShellRequest
from irosh.services.shell.onward import Way, way_to_peer
from irosh.services.shell.server import IroshSSHServer
from irosh.services.shell.ssh_context import SSHContext
from irosh.services.shell.ssh_factors import SSHFactors
from irosh.services.shell.subsystems import Subsystems
from irosh.transport.asyncio_transport import StreamTunnel
from irosh.transport.tasks import task_group

log = logging.getLogger(__name__)

FAREWELL_DEADLINE = 2.0  # seconds for a client to hear why it is turned out


@dataclass(frozen=True)
class SSHHost:
    """What this host is to whoever speaks SSH to it. ``entry``: any one of what it names lets somebody do so."""

    node: Node
    identity: Identity
    subsystems: Subsystems
    programs: Places
    entry: tuple[PlainCapability, ...]
    adoptables: Adoptables


async def serve_ssh(host: SSHHost, incoming: IncomingStream) -> None:
    """Serve ``incoming`` until it ends."""
    node = host.node
    request: ShellRequest = incoming.request
    # What is given to SSH counts for this SSH connection.
    incoming = replace(incoming, verification=Verification(within=incoming.verification))
    peer_id = incoming.connection.peer_id
    login_key = required_key(request, peer_id)
    await incoming.accept()
    tunnel = StreamTunnel(incoming.stream)

    async def lead_on(name: str) -> Way:
        return await way_to_peer(node, name, "shell", ShellRequest(on_behalf=True))

    try:
        async with task_group() as group:
            context = SSHContext(
                petname=incoming.petname,
                authorize=incoming.authorize,
                authorize_now=incoming.authorize_now,
                group=group,
                transport=lambda: tunnel.transport,
                environment=incoming.connection.environment,
                permits=incoming.permits,
                subsystems=host.subsystems,
                program_place=lambda: host.programs.place(peer_id),
                lead_on=lead_on,
                terms=incoming.terms,
                offer=None if request.on_behalf else functools.partial(host.adoptables.offered, peer_id),
                pace=host.adoptables.pace,
            )
            factors = SSHFactors(incoming.connection.authorizer.gate, peer_id, incoming.verification)
            server: IroshSSHServer
            if request.on_behalf:
                context.authorize, context.authorize_now, context.permits = refuse, refuse_now, lambda _action: False
                context.terms = lambda: None
                server = GuestSSHServer(context, node.guests, incoming.connection.authorizer, Use(host.entry))
            else:
                server = IroshSSHServer(context, login_key, factors)
            patience = ASKING_DEADLINE if factors.missing else LOGIN_DEADLINE
            try:
                connection = await _logged_in(tunnel, server, host.identity, patience)
            except (asyncssh.Error, OSError, TimeoutError) as error:
                log.info("%s: ssh login failed: %s", incoming.petname, error)
                return
            send_no_ignored(connection)
            with contextlib.ExitStack() as stack:
                if isinstance(server, GuestSSHServer) and server.guest is not None:

                    def turn_out(error: IroshError) -> None:
                        group.create_task(_turn_out(connection, context, error.message))

                    stack.enter_context(node.guests.visit(server.guest.id, incoming.petname, turn_out))
                await connection.wait_closed()
    finally:
        await tunnel.aclose()


async def _turn_out(connection: asyncssh.SSHServerConnection, context: SSHContext, reason: str) -> None:
    """End all sessions at once, and the connection once the client has heard why, or a little later."""
    # AsyncSSH's disconnect() ends the transport before it has sent the message.
    connection._send_disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, reason, "en")
    for end in list(context.sessions):
        end()
    try:
        async with asyncio.timeout(FAREWELL_DEADLINE):
            await connection.wait_closed()
    except TimeoutError:
        connection.abort()


async def _logged_in(
    tunnel: StreamTunnel, server: IroshSSHServer, identity: Identity, patience: float
) -> asyncssh.SSHServerConnection:
    async with asyncio.timeout(patience):
        return await asyncssh.connect_reverse(
            "peer",
            tunnel=tunnel,
            config=None,
            server_factory=lambda: server,
            server_host_keys=[asyncssh.import_private_key(identity.openssh_private_key())],
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
