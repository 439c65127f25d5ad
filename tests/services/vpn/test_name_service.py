"""Clients of the VPN that ask for names without end: the others are answered all the same."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, closing

import pytest

from irosh.services.vpn import name_service
from tests.lab.namespace import entered
from tests.lab.network import Network
from tests.lab.requirements import requires_netns

pytestmark = [pytest.mark.netns, requires_netns()]

SERVICE, UPSTREAM, GREEDY, OTHER = "127.0.0.9", "127.0.0.8", "127.0.0.2", "127.0.0.3"
GREED, GOOD = b"\x00\x01greed", b"\x00\x02good"


def bound(kind: socket.SocketKind, address: str, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind((address, port))
    sock.setblocking(False)
    return sock


def test_one_client_takes_no_places_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("MAX_ASKED", 3), ("ALL_ASKED", 5), ("MAX_CONNECTIONS", 3), ("ALL_CONNECTIONS", 5)):
        monkeypatch.setattr(name_service, name, most)
    monkeypatch.setattr(name_service, "present_servers", lambda: [UPSTREAM])
    with Network() as network, entered(network.host("host").namespace), ExitStack() as stack:
        upstream = stack.enter_context(closing(bound(socket.SOCK_DGRAM, UPSTREAM, name_service.DNS_PORT)))
        listener = stack.enter_context(closing(bound(socket.SOCK_STREAM, UPSTREAM, name_service.DNS_PORT)))
        listener.listen()
        asyncio.run(asyncio.wait_for(_ask(upstream, stack), 30))


async def _ask(upstream: socket.socket, stack: ExitStack) -> None:
    loop = asyncio.get_running_loop()
    async with name_service.name_service([SERVICE]):
        greedy = stack.enter_context(closing(bound(socket.SOCK_DGRAM, GREEDY)))
        other = stack.enter_context(closing(bound(socket.SOCK_DGRAM, OTHER)))
        for _ in range(10):
            greedy.sendto(GREED, (SERVICE, name_service.DNS_PORT))
        other.sendto(GOOD, (SERVICE, name_service.DNS_PORT))
        heard = []
        while (asked := await loop.sock_recvfrom(upstream, 100))[0] != GOOD:
            heard.append(asked)
        assert len(heard) == 3
        upstream.sendto(GOOD, asked[1])
        assert await loop.sock_recv(other, 100) == GOOD

        connections = []
        for address in [GREEDY] * 10 + [OTHER]:
            connections.append(stack.enter_context(closing(bound(socket.SOCK_STREAM, address))))
            await loop.sock_connect(connections[-1], (SERVICE, name_service.DNS_PORT))
        for sock in connections[3:10]:
            assert await loop.sock_recv(sock, 1) == b""
        for sock in (*connections[:3], connections[10]):
            with pytest.raises(BlockingIOError):
                sock.recv(1)
