"""The server's side of SOCKS on a socket or a stream: the conversation up to the request, and UDP ASSOCIATE."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from irosh.core.addresses import parse_ip
from irosh.core.errors import IroshError
from irosh.core.socket_spec import SocketSpec
from irosh.core.socks import (
    Command,
    Handshake,
    Reply,
    Request,
    SocksError,
    answer,
    pack_datagram,
    parse_datagram,
)
from irosh.services.tunnel.associations import Associations
from irosh.services.tunnel.carrying import Connect
from irosh.services.tunnel.udp_listener import packets_of
from irosh.transport.interfaces import SpliceCounters
from irosh.transport.socket_stream import SocketStream
from irosh.transport.sockets import bind_listener
from irosh.transport.tasks import first_to_end, task_group

log = logging.getLogger(__name__)

REQUEST_DEADLINE = 30.0  # seconds for a client to say what it wants
MAX_DESTINATIONS = 256  # of one UDP association


class Talk(Protocol):
    """A byte stream to a client, as a conversation needs it."""

    async def read_exactly(self, size: int) -> bytes: ...

    async def write(self, data: bytes) -> None: ...


async def hear_request(talk: Talk) -> Request:
    """What the client wants. :class:`SocksError`, after the client has been told, ``EOFError``; and what ``talk`` does.

    Not a byte more than the request is read.
    """
    handshake = Handshake()
    try:
        async with asyncio.timeout(REQUEST_DEADLINE):
            while handshake.request is None:
                if said := handshake.feed(await talk.read_exactly(handshake.wanted)):
                    await talk.write(said)
    except TimeoutError:
        raise SocksError(f"no request within {REQUEST_DEADLINE:g} s") from None
    except SocksError as error:
        if error.answer:
            await talk.write(error.answer)
        raise
    return handshake.request


async def serve_udp(
    client: socket.socket,
    request: Request,
    connect: Connect,
    refused: Callable[[SocketSpec, IroshError], None],
    counters: SpliceCounters,
    *,
    idle: float,
) -> None:
    """UDP ASSOCIATE, RFC 1928 section 7, until ``client`` closes the connection that asked for it.

    Packets come to a port of the very address that ``client`` connected to, from its address only. Each destination
    has an association of its own.
    """
    talk = SocketStream(client)
    ours, theirs = client.getsockname(), client.getpeername()
    try:
        sock = await bind_listener(SocketSpec("udp", host=ours[0], port=0))
    except IroshError:
        await talk.write(answer(request, Reply.GENERAL_FAILURE))
        raise
    try:
        relay = _UdpRelay(sock, _same_host(theirs[0]), counters)
        async with task_group() as group:
            associations = Associations(
                connect,
                relay.to_client,
                lambda _key, source, error: refused(source, error),
                group,
                idle=idle,
                limit=MAX_DESTINATIONS,
            )
            relay.send = associations.send
            await talk.write(answer(request, Reply.SUCCEEDED, (ours[0], sock.getsockname()[1])))
            await first_to_end(_until_closed(client), packets_of(sock, relay.from_client))
            raise _Closed
    except _Closed:
        pass
    finally:
        sock.close()


class _Closed(Exception):
    """Ends the task group of an association, and with it what still runs for the client."""


class _UdpRelay:
    """Takes the headers off a client's packets, and puts them on the answers."""

    def __init__(self, sock: socket.socket, client: str, counters: SpliceCounters) -> None:
        self._socket = sock
        self._host = client
        self._client: Any = None
        self._counters = counters
        self.send: Callable[[Hashable, SocketSpec, bytes], None]

    def from_client(self, packet: bytes, sender: Any) -> None:
        if _same_host(sender[0]) != self._host or self._client not in (None, sender):
            return  # RFC 1928: packets of others must be dropped
        parsed = parse_datagram(packet)
        if parsed is None:
            return
        self._client = sender
        host, port, payload = parsed
        self._counters.sent += len(payload)
        self.send((host, port), SocketSpec("udp", host=host, port=port), payload)

    def to_client(self, key: Any, packet: bytes) -> None:
        host, port = key
        self._counters.received += len(packet)
        try:
            self._socket.sendto(pack_datagram(host, port, packet), self._client)
        except OSError as error:
            log.debug("udp to a SOCKS client: %s", error)


async def _until_closed(client: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    try:
        while await loop.sock_recv(client, 1024):
            pass
    except OSError:
        pass  # gone, too


def _same_host(address: str) -> str:
    """``address`` in one spelling: a dual-stack listener sees IPv4 clients as IPv4-mapped IPv6."""
    return str(parse_ip(address) or address)


def serves_udp(request: Request, client: socket.socket) -> bool:
    """Whether ``request`` is for UDP and ``client`` has an address for the packets: not by a Unix socket."""
    return request.command is Command.UDP_ASSOCIATE and client.family in (socket.AF_INET, socket.AF_INET6)
