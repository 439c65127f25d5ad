"""Bulk data over one TCP connection, directly or by SOCKS, and new connections one after the other; as programs.

``python -m bench.flow serve HOST PORT`` takes or gives as a client's first byte says. ``python -m bench.flow measure
HOST PORT SECONDS [SOCKS_PORT]`` prints ``{"up": …, "down": …, "connection": …}``: MB/s each way, and the seconds until
the first byte of a new connection is back. With ``SOCKS_PORT`` connections go by the SOCKS 5 server at that port of
127.0.0.1. iperf3 knows no SOCKS.
"""

from __future__ import annotations

import json
import socket
import statistics
import struct
import sys
import threading
import time

from bench.measuring import Figures
from bench.places import Place, python
from bench.programs import Program, run, started

_CHUNK = 256 * 1024
_TIMEOUT = 30.0
_UP, _DOWN, _ECHO = b"u", b"d", b"e"
_COUNT = struct.Struct(">Qd")
_CONNECTIONS = 50


def flow_server(place: Place, port: int) -> Program:
    """The server as a program in ``place``, listening on all its addresses."""
    command = place.command(*python("bench.flow", "serve", "0.0.0.0", str(port)))
    return started(command, lambda line: line.startswith("listening"))


def flows(place: Place, host: str, port: int, seconds: int, socks_port: int | None = None) -> Figures:
    """``up`` and ``down`` in MB/s, ``connection`` in seconds, measured from ``place``."""
    socks = [] if socks_port is None else [str(socks_port)]
    command = python("bench.flow", "measure", host, str(port), str(seconds), *socks)
    figures: dict[str, float] = json.loads(run(place.command(*command), deadline=2 * seconds + 60.0))
    return figures


def serve(host: str, port: int) -> None:
    """Serve any number of connections, each in a thread."""
    listener = socket.create_server((host, port), backlog=128)
    print("listening", flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_serve, args=(client,), daemon=True).start()


def _serve(client: socket.socket) -> None:
    with client:
        try:
            what = client.recv(1)
            if what == _UP:
                client.sendall(_COUNT.pack(*_received(client)))
            elif what == _DOWN:
                _give(client)
            else:
                client.sendall(what)
        except OSError:
            pass  # the client has what it wanted


def _received(sock: socket.socket) -> tuple[int, float]:
    """Bytes until the end, and the seconds from the first to the last."""
    buffer = bytearray(_CHUNK)
    total, begin = 0, 0.0
    last = begin
    while size := sock.recv_into(buffer):
        last = time.perf_counter()
        begin = begin or last
        total += size
    return total, last - begin


def _give(sock: socket.socket) -> None:
    zeros = bytes(_CHUNK)
    (seconds,) = struct.unpack(">d", sock.recv(8, socket.MSG_WAITALL))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sock.sendall(zeros)


def measure(host: str, port: int, seconds: float, socks_port: int | None) -> Figures:
    """One after the other; who receives counts."""
    with _connect(host, port, socks_port) as sock:
        sock.sendall(_UP)
        zeros = bytes(_CHUNK)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            sock.sendall(zeros)
        sock.shutdown(socket.SHUT_WR)
        sent, taken = _COUNT.unpack(sock.recv(_COUNT.size, socket.MSG_WAITALL))
    with _connect(host, port, socks_port) as sock:
        sock.sendall(_DOWN + struct.pack(">d", seconds))
        received, took = _received(sock)
    times = []
    for _ in range(_CONNECTIONS):
        begin = time.perf_counter()
        with _connect(host, port, socks_port) as sock:
            sock.sendall(_ECHO)
            sock.recv(1)
        times.append(time.perf_counter() - begin)
    return {"up": sent / taken / 1e6, "down": received / took / 1e6, "connection": statistics.median(times)}


def _connect(host: str, port: int, socks_port: int | None) -> socket.socket:
    if socks_port is None:
        sock = socket.create_connection((host, port), _TIMEOUT)
    else:
        sock = socket.create_connection(("127.0.0.1", socks_port), _TIMEOUT)
        sock.sendall(b"\x05\x01\x00")
        if sock.recv(2, socket.MSG_WAITALL) != b"\x05\x00":
            raise ConnectionError("no SOCKS server")
        sock.sendall(b"\x05\x01\x00\x01" + socket.inet_aton(host) + struct.pack(">H", port))
        if (reply := sock.recv(10, socket.MSG_WAITALL))[1:2] != b"\x00":
            raise ConnectionError(f"SOCKS: {reply!r}")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        by_socks = int(sys.argv[5]) if len(sys.argv) > 5 else None
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), by_socks)))
