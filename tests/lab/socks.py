"""SOCKS 5's UDP as a client uses it."""

from __future__ import annotations

import socket
import struct
import time

from irosh.core.socks import pack_datagram, parse_datagram
from tests.lab.servers import TIMEOUT


class Association:
    """A SOCKS client's UDP association, by RFC 1928."""

    def __init__(self, proxy: tuple[str, int]) -> None:
        self.control = socket.create_connection(proxy, TIMEOUT)
        self.control.sendall(b"\x05\x01\x00")
        assert self.control.recv(2) == b"\x05\x00"
        self.control.sendall(b"\x05\x03\x00\x01" + bytes(6))
        reply = self.control.recv(64)
        assert reply[:4] == b"\x05\x00\x00\x01", reply
        self.relay = (socket.inet_ntoa(reply[4:8]), struct.unpack(">H", reply[8:10])[0])
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(2)

    def __enter__(self) -> Association:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        self.socket.close()

    def ask(self, host: str, port: int, payload: bytes) -> bytes:
        """The answer from there, asked for until it comes."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            self.socket.sendto(pack_datagram(host, port, payload), self.relay)
            try:
                answer = parse_datagram(self.socket.recv(65_535))
            except TimeoutError:
                continue
            assert answer is not None
            if answer[:2] == (host, port):
                return answer[2]
        raise AssertionError("no answer")
