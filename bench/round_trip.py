"""Round trip of one byte over TCP, and the echo server it needs; both run as programs of their own.

``python -m bench.round_trip serve HOST PORT`` echoes until ended. ``python -m bench.round_trip measure HOST PORT
COUNT`` prints ``{"median": …, "p99": …}`` in seconds.
"""

from __future__ import annotations

import json
import selectors
import socket
import statistics
import sys
import time

from bench.measuring import Figures, percentile
from bench.places import Place, python
from bench.programs import Program, run, started

_WARM_UP = 100
_TIMEOUT = 30.0


def echo_server(place: Place, host: str, port: int) -> Program:
    """The echo server as a program in ``place``, listening."""
    command = place.command(*python("bench.round_trip", "serve", host, str(port)))
    return started(command, lambda line: line.startswith("listening"))


def round_trips(place: Place, host: str, port: int, count: int) -> Figures:
    """``median`` and ``p99`` in seconds of ``count`` round trips, measured from ``place``."""
    output = run(place.command(*python("bench.round_trip", "measure", host, str(port), str(count))))
    figures: dict[str, float] = json.loads(output)
    return figures


def serve(host: str, port: int) -> None:
    """Echo on any number of connections, in one thread without an event loop: the least that can be in the way."""
    ready = selectors.DefaultSelector()
    listener = socket.create_server((host, port), backlog=4096)
    ready.register(listener, selectors.EVENT_READ)
    print("listening", flush=True)
    while True:
        for key, _ in ready.select():
            if key.fileobj is listener:
                client, _ = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(client, selectors.EVENT_READ)
                continue
            assert isinstance(key.fileobj, socket.socket)
            try:
                data = key.fileobj.recv(65536)
                key.fileobj.sendall(data)
            except OSError:
                data = b""
            if not data:
                ready.unregister(key.fileobj)
                key.fileobj.close()


def measure(host: str, port: int, count: int) -> Figures:
    """Send one byte, wait for its echo, ``count`` times."""
    with socket.create_connection((host, port), timeout=_TIMEOUT) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for _ in range(_WARM_UP + count):
            begin = time.perf_counter()
            sock.sendall(b"x")
            if sock.recv(1) != b"x":
                raise ConnectionError("the echo ended")
            times.append(time.perf_counter() - begin)
    del times[:_WARM_UP]
    return {"median": statistics.median(times), "p99": percentile(times, 0.99)}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
