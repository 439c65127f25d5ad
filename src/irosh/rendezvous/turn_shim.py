"""QUIC by way of a TURN allocation: a UDP socket on loopback that stands for the peer.

The allocation is aioice's and cannot be handed over as a socket. So the QUIC endpoint is bound to loopback and talks to
this socket; what it sends goes to the peer through the TURN server, and back.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import Any, cast

from aioice.ice import StunProtocol

from irosh.transport.sockets import enlarge_buffers

LOOPBACK = ("127.0.0.1:0", "[::1]:0")
"""What the endpoint binds."""
CLOSE_DEADLINE = 2.0
_CHANNEL_HEADER = struct.Struct("!HH")  # RFC 8656 section 12.4

Address = tuple[str, int]


class TurnShim(asyncio.DatagramProtocol):
    """Passes packets between the endpoint and ``peer``; owns ``allocation``."""

    def __init__(self, allocation: StunProtocol, peer: Address) -> None:
        self._allocation = allocation
        self._client = _turn_client(allocation)
        self._peer = peer
        self._transport: asyncio.DatagramTransport | None = None
        self.endpoint: Address | None = None
        """Where the QUIC endpoint is, once that is bound; no other program's packets are passed on."""

    @classmethod
    async def open(cls, allocation: StunProtocol, peer: Address) -> TurnShim:
        """Bind the socket."""
        shim = cls(allocation, peer)
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: shim, local_addr=("127.0.0.1", 0))
        shim._client.receiver = _FromPeer(shim, allocation)
        return shim

    @property
    def address(self) -> str:
        """What the endpoint dials in the peer's place."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")
        return f"{host}:{port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        enlarge_buffers(transport.get_extra_info("socket"))

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if addr != self.endpoint or self._client.transport.is_closing():
            return
        channel = self._client.peer_to_channel.get(self._peer)
        if channel is not None and time.time() < self._client.channel_refresh_at[channel]:
            # The general way makes a task for every packet.
            self._client._send(_CHANNEL_HEADER.pack(channel, len(data)) + data)
        else:
            self._allocation.transport.sendto(data, self._peer)

    def error_received(self, exc: Exception) -> None:
        """The endpoint is gone or not there yet; QUIC notices by itself."""

    def from_peer(self, data: bytes, peer: Address) -> None:
        """A packet that came by the allocation."""
        if peer == self._peer and self.endpoint is not None and self._transport is not None:
            self._transport.sendto(data, self.endpoint)

    async def close(self) -> None:
        """Close the socket and give the allocation back."""
        if self._transport is not None:
            self._transport.close()
        await close_allocation(self._allocation)


class _FromPeer(asyncio.DatagramProtocol):
    """Takes the place of aioice's agent behind an allocation."""

    def __init__(self, shim: TurnShim, allocation: StunProtocol) -> None:
        self._shim = shim
        self._allocation = allocation

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._shim.from_peer(data, addr)

    def connection_lost(self, exc: Exception | None) -> None:
        self._allocation.connection_lost(exc)


async def close_allocation(allocation: StunProtocol) -> None:
    """Give an allocation back to its server, without waiting long for one that does not answer."""
    closing = asyncio.ensure_future(allocation.close())
    try:
        await asyncio.wait((closing,), timeout=CLOSE_DEADLINE)
    finally:
        if not closing.done():
            # It asks the server for half a minute otherwise.
            task: asyncio.Task[None] | None = getattr(allocation.transport, "_TurnTransport__close_task", None)
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)


def _turn_client(allocation: StunProtocol) -> Any:
    return allocation.transport._TurnTransport__inner_protocol  # type: ignore[attr-defined]
