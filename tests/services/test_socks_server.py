"""The conversation with a SOCKS client on a socket: not a byte too many, and not for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from irosh.core.socks import Command, Request, SocksError
from irosh.services.tunnel import socks_server
from irosh.services.tunnel.socks_server import hear_request
from irosh.transport.socket_stream import SocketStream

ASKED = b"\x05\x01\x00" + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"


@contextmanager
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end, and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.settimeout(10)
        yield ours, theirs


def test_what_follows_the_request_stays_in_the_socket() -> None:
    async def body() -> None:
        with sockets() as (ours, theirs):
            theirs.sendall(ASKED + b"early data")
            assert await hear_request(SocketStream(ours)) == Request(5, Command.CONNECT, "127.0.0.1", 80)
            assert theirs.recv(10) == b"\x05\x00"
            assert ours.recv(100) == b"early data"

    asyncio.run(body())


@pytest.mark.parametrize("half", [0, 1, 2, 5, len(ASKED) - 1])
def test_a_request_half_spoken_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch, half: int) -> None:
    monkeypatch.setattr(socks_server, "REQUEST_DEADLINE", 0.2)

    async def body() -> None:
        with sockets() as (ours, theirs):
            theirs.sendall(ASKED[:half])
            with pytest.raises(SocksError, match="no request within"):
                await hear_request(SocketStream(ours))

    asyncio.run(body())


def test_a_client_that_drips_its_request_has_one_deadline_for_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks_server, "REQUEST_DEADLINE", 0.5)

    async def drip(sock: socket.socket) -> None:
        for byte in b"\x04\x01\x00\x50\x7f\x00\x00\x01" + b"u" * 200:
            sock.send(bytes((byte,)))
            await asyncio.sleep(0.1)

    async def body() -> None:
        with sockets() as (ours, theirs):
            dripping = asyncio.create_task(drip(theirs))
            with pytest.raises(SocksError, match="no request within"):
                await hear_request(SocketStream(ours))
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)

    asyncio.run(body())


def test_nonsense_is_answered_before_it_is_let_go() -> None:
    async def body() -> None:
        with sockets() as (ours, theirs):
            theirs.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with pytest.raises(SocksError, match="not SOCKS"):
                await hear_request(SocketStream(ours))
            assert theirs.recv(10) == b"\x05\xff"

    asyncio.run(body())


def test_a_client_that_leaves() -> None:
    async def body() -> None:
        with sockets() as (ours, theirs):
            theirs.sendall(b"\x05\x01")
            theirs.shutdown(socket.SHUT_WR)
            with pytest.raises(EOFError):
                await hear_request(SocketStream(ours))

    asyncio.run(body())
