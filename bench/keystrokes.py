"""An echo of what is typed every 10 ms, and the longest time without one.

``python -m bench.keystrokes HOST PORT SECONDS`` prints ``typing`` once echoes come, and at the end ``{"gap": …}``: how
many seconds longer than the 10 ms between two keys there was no echo.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time

from bench.places import Place, python
from bench.programs import Program, started

INTERVAL = 0.01
_TIMEOUT = 60.0
_SETTLED = 150  # echoes before the first that counts


def typing(place: Place, host: str, port: int, seconds: float) -> Program:
    """The program, started in ``place`` and typing."""
    command = place.command(*python("bench.keystrokes", host, str(port), str(seconds)))
    return started(command, lambda line: line.startswith("typing"))


def gap(program: Program, seconds: float) -> float:
    """What it found, in seconds, once it has ended by itself."""
    line = program.wait_line(lambda line: line if line.startswith("{") else None, seconds + _TIMEOUT)
    return float(json.loads(line)["gap"])


def measure(host: str, port: int, seconds: float) -> float:
    """Type for so long; returns the gap."""
    count = int(seconds / INTERVAL)
    with socket.create_connection((host, port), timeout=_TIMEOUT) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def type_keys() -> None:
            began = time.perf_counter()
            for number in range(count):
                time.sleep(max(0.0, began + number * INTERVAL - time.perf_counter()))
                sock.sendall(b"k")

        keys = threading.Thread(target=type_keys)
        keys.start()
        echoes = 0
        longest = last = 0.0
        while echoes < count:
            data = sock.recv(4096)
            if not data:
                raise ConnectionError("the echo ended")
            now = time.perf_counter()
            if echoes >= _SETTLED:
                longest = max(longest, now - last)
            elif echoes + len(data) >= _SETTLED:
                print("typing", flush=True)
            echoes += len(data)
            last = now
        keys.join()
    return max(0.0, longest - INTERVAL)


if __name__ == "__main__":
    print(json.dumps({"gap": measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))}))
