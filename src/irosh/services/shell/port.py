"""A local port that is a peer's SSH server: ``irosh proxy --listen``.

QUIC has proven to the peer who this node is, so whoever reaches the port would be let in as this node's user. By
default that may be only programs of this very user; the kernel says whose a connection is. Where this cannot be known,
SSH has to ask for a key.
"""

from __future__ import annotations

import logging
import socket
import sys
from dataclasses import dataclass
from typing import Any

from irosh.core.addresses import parse_ip
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.socket_spec import SocketSpec, parse_listen, with_loopback
from irosh.node.control import Channel, parsed_request
from irosh.node.destination import Destination
from irosh.node.exchange import ChannelExchange
from irosh.node.kept_link import KeptLink, kept_link
from irosh.node.node import Node
from irosh.node.operations import path_summary
from irosh.services.shell.messages import MAX_LOGIN_KEYS, PortRequest, ShellRequest
from irosh.transport.interfaces import SpliceCounters, StreamReset
from irosh.transport.socket_owner import is_own
from irosh.transport.sockets import accept_each, bind_listener, bound_spec, close_listener, tune
from irosh.transport.tasks import task_group

log = logging.getLogger(__name__)

_DIGEST_SIZE = 32


async def serve_port_request(node: Node, channel: Channel, request: dict[str, Any]) -> None:
    """Operation ``proxy.listen``: lives as long as the client stays attached."""
    asked = parsed_request(request, PortRequest)
    listen, keys = _parsed(asked.listen), _digests(asked.login_keys)
    await channel.while_connected(_open(node, channel, asked, listen, keys))


async def _open(
    node: Node, channel: Channel, asked: PortRequest, listen: SocketSpec, keys: tuple[bytes, ...] | None
) -> None:
    reached = await node.reach(asked, ChannelExchange(channel))
    await channel.event("connected", peer=reached.peer.petname, id=reached.peer.id, **path_summary(reached.connection))
    async with kept_link(node.links, reached.destination) as link:
        listener = await bind_listener(listen)
        try:
            _check_reach(listener, keys)
            port = Port(node, reached.destination, link, keys)
            await port.check()
            async with task_group() as group:
                serving = group.create_task(port.serve(listener))
                await channel.event("listening", listen=str(bound_spec(listen, listener)))
                await channel.event("ready")
                try:
                    await link.tell(channel)
                finally:
                    serving.cancel()
        finally:
            close_listener(listener)


@dataclass
class Port:
    """One listening port. ``login_keys`` None: connections of this user only."""

    node: Node
    destination: Destination
    link: KeptLink
    login_keys: tuple[bytes, ...] | None

    async def check(self) -> None:
        """Whether the peer lets this node speak SSH to it at all. ``IroshError`` (denied, …)."""
        connection = await self.node.links.get(self.destination)
        opened = await connection.open("shell", self._request())
        await opened.answer()
        await opened.stream.abort()

    async def serve(self, listener: socket.socket) -> None:
        """Carry each connection to the peer, until cancelled."""
        async with task_group() as group:
            await accept_each(
                listener,
                lambda client, name: group.create_task(self._carry(client, name)),
                lambda error: self._refused("", error),
            )

    async def _carry(self, client: socket.socket, name: str) -> None:
        try:
            if self.login_keys is None and not is_own(client):
                raise IroshError(
                    ErrorCode.DENIED,
                    "another user's program came to the port",
                    "with --authorized-keys FILE others may use it, by their keys",
                )
            tune(client)
            connection = await self.node.links.get(self.destination)
            opened = await connection.open("shell", self._request())
            await opened.stream.splice(client, SpliceCounters(), opened.answer())
        except IroshError as error:
            self._refused(name, error)
        except (StreamReset, OSError) as error:
            log.debug("port, from %s: %s", name, error)
        finally:
            client.close()

    def _request(self) -> ShellRequest:
        return ShellRequest(login_keys=self.login_keys or ())

    def _refused(self, name: str, error: IroshError) -> None:
        self.link.report("refused", {"client": name, "error": error.to_dict()})


def _parsed(text: str) -> SocketSpec:
    if text.startswith("/"):
        text = f"unix://{text}"
    spec = parse_listen(text if "://" in text else f"tcp://{with_loopback(text)}")
    if spec.protocol == "udp":
        raise IroshError(ErrorCode.INVALID_ADDRESS, "SSH has no datagrams", "write tcp://HOST:PORT or unix:///PATH")
    return spec


def _digests(texts: list[str] | None) -> tuple[bytes, ...] | None:
    if texts is None:
        return None
    try:
        digests = tuple(bytes.fromhex(text) for text in texts)
    except ValueError:
        digests = ()
    if not 0 < len(digests) <= MAX_LOGIN_KEYS or any(len(digest) != _DIGEST_SIZE for digest in digests):
        raise IroshError(ErrorCode.PROTOCOL, f"login keys are 1 to {MAX_LOGIN_KEYS} SHA-256 digests")
    return digests


def _check_reach(listener: socket.socket, keys: tuple[bytes, ...] | None) -> None:
    """Refuse a port that people could reach of whom nothing would be known."""
    if keys is not None or listener.family == socket.AF_UNIX:
        return  # a Unix socket's file is this user's alone
    if sys.platform != "linux":
        raise IroshError(
            ErrorCode.USAGE,
            "this system does not say which user a local connection belongs to",
            "use --authorized-keys FILE, or a Unix socket: --listen unix:///PATH",
        )
    address = parse_ip(listener.getsockname()[0])
    if address is None or not address.ip.is_loopback:
        raise IroshError(
            ErrorCode.USAGE,
            "whoever reaches a port that is not on loopback would be let in as you",
            "with --authorized-keys FILE and --allow-remote it takes one of these keys",
        )
