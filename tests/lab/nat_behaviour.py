"""Measures what a NAT does with UDP, by plain sockets: the mapping and filtering of RFC 4787, as RFC 5780 finds them.

No waiting for what should not come: a packet that nothing may stop is sent after it, by the same way.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum

from tests.lab.host import Host

Endpoint = tuple[str, int]


class Behaviour(StrEnum):
    """Of what a mapping or a filter depends, besides the inside socket (RFC 4787, 4.1 and 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address and port-dependent"


class Observer:
    """A server's sockets: two addresses with two ports each, as an RFC 5780 server has them."""

    def __init__(self, sockets: dict[tuple[int, int], socket.socket]) -> None:
        self._sockets = sockets

    @classmethod
    @contextmanager
    def on(cls, host: Host) -> Iterator[Observer]:
        """On a host with two addresses."""
        with ExitStack() as stack:
            sockets: dict[tuple[int, int], socket.socket] = {}
            for port in (0, 1):
                for address in (0, 1):
                    number = sockets[0, port].getsockname()[1] if address else 0
                    sockets[address, port] = stack.enter_context(host.udp_socket(host.addresses[address], number))
            yield cls(sockets)

    def endpoint(self, address: int = 0, port: int = 0) -> Endpoint:
        """One of the four."""
        host, number = self._sockets[address, port].getsockname()
        return str(host), int(number)

    def seen(self, client: socket.socket, address: int = 0, port: int = 0) -> Endpoint:
        """From where a packet of ``client`` comes."""
        client.sendto(b"who am I?", self.endpoint(address, port))
        _, sender = self._sockets[address, port].recvfrom(100)
        return str(sender[0]), int(sender[1])

    def send(self, target: Endpoint, address: int = 0, port: int = 0) -> None:
        """Send from one of the four."""
        self._sockets[address, port].sendto(b"%d%d" % (address, port), target)


def mapping(client: socket.socket, observer: Observer) -> Behaviour:
    """How outside ports are given to a fresh socket behind a NAT (RFC 5780, 4.3)."""
    first = observer.seen(client)
    other_port, other_address = observer.seen(client, 0, 1), observer.seen(client, 1, 0)
    if first == other_port == other_address:
        return Behaviour.ENDPOINT_INDEPENDENT
    return Behaviour.ADDRESS_DEPENDENT if first == other_port else Behaviour.ADDRESS_AND_PORT_DEPENDENT


def filtering(client: socket.socket, observer: Observer) -> Behaviour:
    """Who may send to a fresh socket behind a NAT that has sent to one endpoint (RFC 5780, 4.4)."""
    outside = observer.seen(client)
    for address, port in ((1, 0), (0, 1), (0, 0)):
        observer.send(outside, address, port)
    came = set()
    while b"00" not in came:
        came.add(client.recv(100))
    if b"10" in came:
        return Behaviour.ENDPOINT_INDEPENDENT
    return Behaviour.ADDRESS_DEPENDENT if b"01" in came else Behaviour.ADDRESS_AND_PORT_DEPENDENT
