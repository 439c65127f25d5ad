"""What the demo reaches through its tunnels: an HTTP server and a name server, both on loopback in this process."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, cast

PAGE: Final = b"<!doctype html><title>irosh</title><p>Nothing but this tunnel leads here.\n" * 200
NAME: Final = "host.irosh.example"
ADDRESS: Final = "192.0.2.7"
"""From the block that RFC 5737 keeps for examples."""

_QUERY_FLAGS, _ANSWER_FLAGS = 0x0100, 0x8580  # recursion desired; response, authoritative
_TYPE_A, _CLASS_IN, _TTL = 1, 1, 60
_HEADER = struct.Struct(">6H")
_NAME_POINTER = 0xC000 | _HEADER.size  # RFC 1035 section 4.1.4: "the name that stands right after the header"


def dns_query(identifier: int, name: str) -> bytes:
    """An RFC 1035 query for the IPv4 address of ``name``, which is ASCII."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    question = labels + b"\0" + struct.pack(">2H", _TYPE_A, _CLASS_IN)
    return _HEADER.pack(identifier, _QUERY_FLAGS, 1, 0, 0, 0) + question


def dns_answer(query: bytes, address: str) -> bytes:
    """The answer ``address`` to a ``query`` that :func:`dns_query` made."""
    identifier = _HEADER.unpack_from(query)[0]
    data = bytes(int(part) for part in address.split("."))
    record = struct.pack(">3HIH", _NAME_POINTER, _TYPE_A, _CLASS_IN, _TTL, len(data)) + data
    return _HEADER.pack(identifier, _ANSWER_FLAGS, 1, 1, 0, 0) + query[_HEADER.size :] + record


def dns_address(query: bytes, answer: bytes) -> str:
    """The address in the ``answer`` to ``query``. ``ValueError`` if it is not one."""
    address = ".".join(str(byte) for byte in answer[-4:])
    if len(answer) <= len(query) or answer != dns_answer(query, address):
        raise ValueError("this is no answer to the query")
    return address


@contextmanager
def http_server() -> Iterator[int]:
    """Serves :data:`PAGE` on a free port of loopback, which it yields."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _PageHandler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="demo http")
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def name_server() -> AsyncIterator[int]:
    """Answers each query with :data:`ADDRESS`, on a free UDP port of loopback, which it yields."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(_NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield int(transport.get_extra_info("sockname")[1])
    finally:
        transport.close()


class _PageHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the demo tells what happens."""


class _NameServer(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # not a subclass of it before Python 3.12

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        if len(data) > _HEADER.size:
            self._transport.sendto(dns_answer(data, ADDRESS), addr)
