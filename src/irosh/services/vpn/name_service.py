"""DNS for clients of the VPN: their questions go on to the host's own name servers, and the answers back (RFC 5625)."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

from irosh.core.addresses import parse_ip
from irosh.core.crowd import Crowd
from irosh.transport.sockets import closed_on_failure
from irosh.transport.tasks import TaskSet

log = logging.getLogger(__name__)

DNS_PORT = 53
RESOLV_CONF = Path("/etc/resolv.conf")
MAX_ASKED, ALL_ASKED = 128, 1024  # questions that wait for an answer, of one client and of all
MAX_CONNECTIONS, ALL_CONNECTIONS = 16, 128
ANSWER_DEADLINE = 5.0
CONNECTION_DEADLINE = 30.0
_MOST = 65_535
# linux/in.h, linux/in6.h
_FREE_BIND = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}


@asynccontextmanager
async def name_service(addresses: Sequence[str]) -> AsyncIterator[None]:
    """Answer at ``addresses``, by UDP and TCP, for the length of the context. Not where something else does already.

    An interface need not have them yet.
    """
    tasks = TaskSet()
    servers: list[asyncio.Server] = []
    transports: list[asyncio.DatagramTransport] = []
    loop = asyncio.get_running_loop()
    questions, connections = Crowd(MAX_ASKED, ALL_ASKED), Crowd(MAX_CONNECTIONS, ALL_CONNECTIONS)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = str((writer.get_extra_info("peername") or ("",))[0])
        if not connections.enter(client):
            writer.close()
            return
        try:
            await _carry_connection(reader, writer)
        finally:
            connections.leave(client)

    try:
        for address in addresses:
            try:
                sock = _bound(address, socket.SOCK_DGRAM)
                transports.append(
                    (await loop.create_datagram_endpoint(lambda: _Questions(tasks, questions), sock=sock))[0]
                )
                servers.append(await asyncio.start_server(connected, sock=_bound(address, socket.SOCK_STREAM)))
            except OSError as error:
                log.warning("no name service at %s: %s", address, error.strerror)
        yield
    finally:
        for server in servers:
            server.close()
        for transport in transports:
            transport.close()
        await tasks.close()


def _bound(address: str, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closed_on_failure(socket.socket(family, kind)) as sock:
        level, option = _FREE_BIND[sock.family]
        sock.setsockopt(level, option, 1)
        if kind is socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((address, DNS_PORT))
        return sock


def name_servers(text: str) -> list[str]:
    """The name servers in the text of a resolv.conf(5), at most three."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and parse_ip(words[1]) is not None:
            found.append(words[1])
    return found[:3]


def present_servers() -> list[str]:
    """The name servers of this machine, as this process sees them."""
    try:
        return name_servers(RESOLV_CONF.read_text())
    except (OSError, ValueError):
        return []


class _Questions(asyncio.DatagramProtocol):
    def __init__(self, tasks: TaskSet, crowd: Crowd) -> None:
        self._tasks = tasks
        self._crowd = crowd
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is not of that class

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._crowd.enter(addr[0]):
            self._tasks.start(self._answer(data, addr))

    async def _answer(self, question: bytes, client: tuple[str, int]) -> None:
        try:
            for server in present_servers():
                with suppress(OSError, TimeoutError):
                    answer = await _ask(server, question)
                    if self._transport is not None and not self._transport.is_closing():
                        self._transport.sendto(answer, client)
                    return
        finally:
            self._crowd.leave(client[0])


async def _ask(server: str, question: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (server, DNS_PORT))
        async with asyncio.timeout(ANSWER_DEADLINE):
            await loop.sock_sendall(sock, question)
            while (answer := await loop.sock_recv(sock, _MOST))[:2] != question[:2]:
                pass
            return answer


async def _carry_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, TimeoutError):
        try:
            async with asyncio.timeout(CONNECTION_DEADLINE):
                for server in present_servers():
                    with suppress(OSError):
                        up_reader, up_writer = await asyncio.open_connection(server, DNS_PORT)
                        try:
                            await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
                        finally:
                            up_writer.close()
                        return
        finally:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_MOST):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
