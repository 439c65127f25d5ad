"""A program that stands in the way of a network interface and makes its packets late, few or slow.

It reads Ethernet frames from a tap device, to which the kernel has diverted what was to leave by an interface, and puts
them out by that interface when their time has come. Standard input has one shape per line (JSON); its end is the end of
the program. Not the kernel's own netem, which many kernels lack, above all those of small virtual machines.

Runs by its path, with nothing but the standard library.
"""

from __future__ import annotations

import fcntl
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_FRAME_SIZE = 65_535 + 14
_READS = 64


@dataclass
class DelayLine:
    """When packets leave. Pure: times are seconds on any one clock. All parameters may be changed at any time."""

    delay: float = 0.0
    """Seconds from one end to the other."""
    jitter: float = 0.0
    """At most so many seconds more or less, evenly distributed. It does not change the order."""
    loss: float = 0.0
    """The fraction that is lost."""
    reorder: float = 0.0
    """The fraction that overtakes the others: it is not delayed."""
    rate: float = 0.0
    """Bits per second; 0: any number."""
    queue: float = 0.1
    """Seconds: packets that would wait longer for those before them, because of the rate, are dropped."""
    random: Callable[[], float] = random.random

    _free: float = field(default=float("-inf"), init=False)
    _last: float = field(default=float("-inf"), init=False)

    def departure(self, now: float, size: int) -> float | None:
        """When the packet of ``size`` bytes that has come ``now`` leaves; ``None`` if it is lost."""
        if self.loss and self.random() < self.loss:
            return None
        sent = now
        if self.rate:
            begins = max(now, self._free)
            if begins - now > self.queue:
                return None
            sent = self._free = begins + size * 8 / self.rate
        if self.reorder and self.random() < self.reorder:
            return sent
        late = self.delay + (self.jitter * (2 * self.random() - 1) if self.jitter else 0.0)
        self._last = max(self._last, sent + max(late, 0.0))
        return self._last


def open_tap(name: str) -> int:
    """Make the tap device ``name``, which is there as long as the descriptor is open."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


def open_output(device: str) -> socket.socket:
    """Where to put frames that leave by ``device`` without being diverted again."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * 1024 * 1024)
    sock.bind((device, 0))
    return sock


def pass_on(tap: int, output: socket.socket, commands: int) -> None:
    """Pass frames on until ``commands`` ends."""
    line = DelayLine()
    waiting: list[tuple[float, int, bytes]] = []
    number = 0
    pending = b""
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([tap, commands], [], [], timeout)
        if commands in readable:
            if not (data := os.read(commands, 65_536)):
                return
            *complete, pending = (pending + data).split(b"\n")
            for text in complete:
                _change(line, json.loads(text))
                os.write(1, b"changed\n")
        if tap in readable:
            now = time.monotonic()
            for _ in range(_READS):
                try:
                    frame = os.read(tap, _FRAME_SIZE)
                except BlockingIOError:
                    break
                leaves = line.departure(now, len(frame))
                if leaves is not None:
                    heapq.heappush(waiting, (leaves, number, frame))
                    number += 1
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            try:
                output.send(heapq.heappop(waiting)[2])
            except OSError:
                # The interface is down, or its queue is full: lost, as on a real one.
                continue


def _change(line: DelayLine, parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        setattr(line, name, value)


if __name__ == "__main__":
    tap_name, device_name = sys.argv[1:]
    pass_on(open_tap(tap_name), open_output(device_name), sys.stdin.fileno())
