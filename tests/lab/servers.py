"""Small servers of the tests' own, on loopback, each in a thread for the length of a ``with`` block."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TIMEOUT = 30.0

StreamHandler = Callable[[socket.socket], None]
PacketHandler = Callable[[bytes, tuple[str, int]], bytes | None]


@contextmanager
def tcp_server(handler: StreamHandler, *, address: str = "127.0.0.1") -> Iterator[int]:
    """Runs ``handler`` with each connection, which is closed afterwards; gives the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family, backlog=128) as listener, _accepting(listener, handler):
        yield int(listener.getsockname()[1])


@contextmanager
def unix_server(handler: StreamHandler, path: Path) -> Iterator[None]:
    """As :func:`tcp_server`, at a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(128)
        with _accepting(listener, handler):
            yield


@contextmanager
def udp_server(handler: PacketHandler) -> Iterator[int]:
    """Answers each packet with what ``handler`` makes of it and its sender, if anything; gives the port."""
    # Both made here, so that they are on the same machine: whoever ends the block may be on another.
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        sock.bind(("127.0.0.1", 0))
        closing = threading.Event()

        def serve() -> None:
            while True:
                packet, sender = sock.recvfrom(65_535)
                if closing.is_set():
                    return
                answer = handler(packet, sender)
                if answer is not None:
                    sock.sendto(answer, sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield int(sock.getsockname()[1])
        finally:
            closing.set()
            waker.sendto(b"", sock.getsockname())
            thread.join()


@contextmanager
def _accepting(listener: socket.socket, handler: StreamHandler) -> Iterator[None]:
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        # A peer that breaks off is what some tests are about.
        with connection, suppress(OSError):
            handler(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(TIMEOUT)
            connections.append(connection)
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def echo(connection: socket.socket) -> None:
    """Sends back what comes, until its end."""
    while data := connection.recv(65_536):
        connection.sendall(data)


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of the stream."""
    chunks = []
    while data := connection.recv(65_536):
        chunks.append(data)
    return b"".join(chunks)


def dns_responder(address: str) -> PacketHandler:
    """A name server that answers every question with one A record (RFC 1035, 4.1)."""

    def answer(packet: bytes, _sender: tuple[str, int]) -> bytes | None:
        if len(packet) < 12:
            return None
        identity, flags, questions = struct.unpack(">HHH", packet[:6])
        end = 12
        while packet[end]:
            end += packet[end] + 1
        question = packet[12 : end + 5]
        header = struct.pack(">HHHHHH", identity, 0x8580 | (flags & 0x0100), questions, 1, 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)
        return header + question + record

    return answer


def unused_port() -> int:
    """A TCP port that nobody listens on, for programs that cannot be told to choose one.

    Outside the range from which the system gives ports to others (``ip_local_port_range``).
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def listens(port: int) -> bool:
    """Whether somebody listens on a TCP port of this machine (IPv4). Looks it up, without a connection."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        if state == "0A" and int(local.partition(":")[2], 16) == port:
            return True
    return False
