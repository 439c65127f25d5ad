"""How a connection on standard input and output ends: in order, or broken off, which the command must know."""

from __future__ import annotations

import asyncio
import queue
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.control_client import ControlClient
from irosh.node.node import Node
from tests.lab.servers import echo, tcp_server
from tests.support.attached import attached, stdio

DATA = bytes(range(256)) * 4096


async def ended_by_its_user(_host: Node, node: Node, peer_id: str) -> None:
    with await asyncio.to_thread(ControlClient, node.state.control_socket_path) as other:
        await asyncio.to_thread(other.call, "link.end", {"target": peer_id, "at_once": True})


async def access_revoked(host: Node, node: Node, _peer_id: str) -> None:
    host.close_peer(node.identity.id, IroshError(ErrorCode.REVOKED, "this host has revoked your access"))


async def host_stopped(host: Node, _node: Node, _peer_id: str) -> None:
    host.stop()


@asynccontextmanager
async def carried(directory: Path, port: int) -> AsyncIterator[tuple[Node, Node, ControlClient, socket.socket]]:
    """Host, node, command, and its socket that leads to ``port`` of the host."""
    async with attached(directory) as (host, node, command):
        with await stdio(command, host, port) as sock:
            sock.settimeout(30)
            yield host, node, command, sock


def everything(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


@contextmanager
def resetting() -> Iterator[int]:
    """A server that breaks off each connection in the midst of its answer."""

    def reset(connection: socket.socket) -> None:
        connection.sendall(b"half")
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with tcp_server(reset) as port:
        yield port


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        (ended_by_its_user, ErrorCode.CLOSED),
        (access_revoked, ErrorCode.REVOKED),
        (host_stopped, ErrorCode.SHUTTING_DOWN),
    ],
)
def test_what_breaks_it_off_is_told(
    happens: Callable[[Node, Node, str], Awaitable[None]], code: ErrorCode, tmp_path: Path
) -> None:
    async def scenario() -> None:
        with tcp_server(echo) as port:
            async with carried(tmp_path, port) as (host, node, command, sock):
                await asyncio.to_thread(sock.sendall, b"said before")
                assert await asyncio.to_thread(sock.recv, 65536) == b"said before"
                await happens(host, node, host.identity.id)
                with pytest.raises(IroshError) as failure:
                    await asyncio.to_thread(command.finish)
                assert failure.value.code is code
                assert await asyncio.to_thread(everything, sock) == b""

    asyncio.run(scenario())


def test_a_reset_at_the_far_end_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        with resetting() as port:
            async with carried(tmp_path, port) as (_, _, command, sock):
                assert await asyncio.to_thread(sock.recv, 65536) == b"half"
                sock.sendall(b"!")
                with pytest.raises(IroshError) as failure:
                    await asyncio.to_thread(command.finish)
                assert failure.value.code is ErrorCode.CONNECTION_LOST

    asyncio.run(scenario())


def test_it_ends_in_order_with_both_sides(tmp_path: Path) -> None:
    async def scenario() -> None:
        with tcp_server(echo) as port:
            async with carried(tmp_path, port) as (_, _, command, sock):
                reading = asyncio.create_task(asyncio.to_thread(everything, sock))
                await asyncio.to_thread(sock.sendall, DATA)
                sock.shutdown(socket.SHUT_WR)
                assert await reading == DATA
                await asyncio.to_thread(command.finish)

    asyncio.run(scenario())


def test_a_side_that_has_ended_may_still_be_sent_to(tmp_path: Path) -> None:
    received: queue.Queue[bytes] = queue.Queue()

    def take(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        received.put(everything(connection))

    async def scenario() -> None:
        with tcp_server(take) as port:
            async with carried(tmp_path, port) as (_, _, command, sock):
                assert await asyncio.to_thread(everything, sock) == b""
                await asyncio.to_thread(sock.sendall, DATA)
                sock.shutdown(socket.SHUT_WR)
                await asyncio.to_thread(command.finish)
                assert await asyncio.to_thread(received.get, timeout=30) == DATA

    asyncio.run(scenario())


def test_a_side_that_has_ended_may_refuse_the_rest(tmp_path: Path) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"too much")
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # and is closed with the rest unread

    async def scenario() -> None:
        with tcp_server(answer) as port:
            async with carried(tmp_path, port) as (_, _, command, sock):
                assert await asyncio.to_thread(everything, sock) == b"too much"
                for _ in range(8):
                    try:
                        await asyncio.to_thread(sock.sendall, DATA)
                    except OSError:
                        break
                await asyncio.to_thread(command.finish)

    asyncio.run(scenario())
