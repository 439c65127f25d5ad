"""``irosh connect -N`` with forwards, and what a test needs to know of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.lab.irosh_process import Irosh, IroshProcess
from tests.lab.servers import TIMEOUT


class Forwards:
    """A running ``irosh connect -N``. ``listens`` are the addresses of each forward, in the order they were given."""

    def __init__(self, process: IroshProcess) -> None:
        self.process = process
        self.listens: list[list[str]] = [
            [str(listen) for listen in event["listens"]] for event in process.events if event.get("event") == "forward"
        ]

    def address(self, forward: int = 0, listen: int = 0) -> tuple[str, int]:
        """Host and port of one that listens by TCP."""
        host, _, port = self.listens[forward][listen].rpartition(":")
        return host.strip("[]"), int(port)

    def connect(self, forward: int = 0, listen: int = 0) -> socket.socket:
        """A connection to it."""
        return socket.create_connection(self.address(forward, listen), TIMEOUT)


@contextmanager
def forwarding(client: Irosh, target: str, *options: str) -> Iterator[Forwards]:
    """``irosh connect -N`` for the length of the block, which begins when all forwards stand."""
    with client.start("connect", "-N", "-oExitOnForwardFailure=yes", *options, target) as process:
        process.wait_event("ready")
        yield Forwards(process)


def exchange(connection: socket.socket, data: bytes) -> bytes:
    """Send ``data`` and its end, and read what comes back to the end."""
    with connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


def ask_socks(connection: socket.socket, host: str, port: int) -> int:
    """SOCKS 5's CONNECT by name; the reply code of RFC 1928."""
    connection.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x03" + bytes((len(host),)) + host.encode() + port.to_bytes(2))
    reply = b""
    while len(reply) < 12:
        data = connection.recv(12 - len(reply))
        if not data:
            raise EOFError(reply)
        reply += data
    assert reply[:2] == b"\x05\x00"
    return reply[3]


def words(kind: str, specs: Sequence[str]) -> list[str]:
    """``-L`` before each of ``specs``."""
    return [word for spec in specs for word in (f"-{kind}", spec)]
