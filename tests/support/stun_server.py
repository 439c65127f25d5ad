"""A small STUN server of the tests' own, on loopback, whose answers can be made wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from aioice.stun import Class, Message, parse_message

Address = tuple[str, int]
Answer = Callable[[Message, Address], list[bytes]]


def honest(request: Message, source: Address) -> list[bytes]:
    """The truth."""
    return [seeing(request, source)]


def claiming(host: str, port: int | None = None) -> Answer:
    """Says that everybody is at ``host``."""
    return lambda request, source: [seeing(request, (host, source[1] if port is None else port))]


def silent(_request: Message, _source: Address) -> list[bytes]:
    """Never answers."""
    return []


def refusing(request: Message, _source: Address) -> list[bytes]:
    """Answers with an error."""
    error = Message(request.message_method, Class.ERROR, request.transaction_id, {"ERROR-CODE": (400, "Bad\x1b")})
    return [bytes(error)]


def foreign_transaction(request: Message, source: Address) -> list[bytes]:
    """Answers to a question that nobody asked, then with rubbish."""
    other = Message(request.message_method, Class.REQUEST, b"\0" * 12)
    return [seeing(other, ("192.0.2.66", 66)), b"\x01\x01" + bytes(40), seeing(request, source)[:-2]]


def seeing(request: Message, mapped: Address) -> bytes:
    """A response that names ``mapped``."""
    attributes = {"XOR-MAPPED-ADDRESS": mapped, "OTHER-ADDRESS": ("192.0.2.7", 3479)}
    return bytes(Message(request.message_method, Class.RESPONSE, request.transaction_id, attributes))


class StunServer(asyncio.DatagramProtocol):
    """Answers as told, ignoring the first ``deaf`` packets; counts what it gets."""

    def __init__(self, answer: Answer, deaf: int) -> None:
        self._answer = answer
        self._deaf = deaf
        self.requests: list[bytes] = []
        self.senders: list[Address] = []
        self.address: Address = ("", 0)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.address = self._transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, source: Address) -> None:
        self.requests.append(data)
        self.senders.append(source)
        if len(self.requests) > self._deaf:
            for packet in self._answer(parse_message(data), source):
                assert self._transport is not None
                self._transport.sendto(packet, source)

    @property
    def name(self) -> str:
        """As given to ``--stun-server``."""
        return f"{self.address[0]}:{self.address[1]}"


@asynccontextmanager
async def stun_server(answer: Answer = honest, *, deaf: int = 0) -> AsyncIterator[StunServer]:
    """Runs for the length of the block."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: StunServer(answer, deaf), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
