"""What both ends of a session go through alike, whether it has one carrier at a time or several."""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Generic, TypeVar

from irosh.transport.interfaces import SpliceCounters
from irosh.transport.session.multi_session import MultiSession
from irosh.transport.session.session import Session
from irosh.transport.wheel import WheelEndpoint

MiB = 1024 * 1024

S = TypeVar("S", Session, MultiSession)


@dataclass
class Ends(ABC, Generic[S]):
    """Two ends of a session, and how what carries it is cut and renewed."""

    dialler: WheelEndpoint
    acceptor: WheelEndpoint
    near: S
    far: S

    @abstractmethod
    def cut_all(self) -> None:
        """All connections are closed."""

    @abstractmethod
    async def renew(self) -> object:
        """A new connection for both."""

    async def lose(self) -> None:
        """Both are without a connection, and know it."""
        self.cut_all()
        await asyncio.gather(self.near.wait_down(), self.far.wait_down())

    async def settled(self) -> None:
        """Both have forgotten their streams: acknowledged to the end."""
        while self.near.streams() or self.far.streams():
            await asyncio.sleep(0.01)


async def splice_both_ways(ends: Ends[S], disturbing: Awaitable[None] | None = None) -> None:
    """Two pairs of sockets, spliced by a stream, pass on what goes in, whatever happens ``disturbing``."""
    near_socket, near_end = socket.socketpair()
    far_socket, far_end = socket.socketpair()
    stream = await ends.near.open_stream()
    await stream.write(b"!")
    remote = await ends.far.accept_stream()
    assert await remote.read_exactly(1) == b"!"
    copying = [
        asyncio.create_task(stream.splice(near_end, SpliceCounters())),
        asyncio.create_task(remote.splice(far_end, SpliceCounters())),
    ]
    loop = asyncio.get_running_loop()
    near_socket.setblocking(False)
    far_socket.setblocking(False)
    data = os.urandom(12 * MiB)

    async def receive(sock: socket.socket) -> bytes:
        received = bytearray()
        while chunk := await loop.sock_recv(sock, 65536):
            received += chunk
        return bytes(received)

    async def send(sock: socket.socket) -> None:
        await loop.sock_sendall(sock, data)
        sock.shutdown(socket.SHUT_WR)

    others = [] if disturbing is None else [disturbing]
    one, other, *_ = await asyncio.gather(
        receive(near_socket), receive(far_socket), send(near_socket), send(far_socket), *others
    )
    assert one == data
    assert other == data
    await asyncio.gather(*copying)
    await ends.settled()


async def write_while_down(ends: Ends[S]) -> None:
    """What is written while there is no connection arrives after it, between what came before and what comes later."""
    stream = await ends.near.open_stream()
    await stream.write(b"before ")
    remote = await ends.far.accept_stream()
    assert await remote.read_exactly(7) == b"before "
    await ends.lose()
    await stream.write(b"meanwhile ")
    await remote.write(b"answer")
    await remote.finish()
    await ends.renew()
    await stream.write(b"after")
    await stream.finish()
    assert await remote.read_exactly(15) == b"meanwhile after"
    assert await remote.read() == b""
    assert await stream.read_exactly(6) == b"answer"
    assert await stream.read() == b""
    await ends.settled()
