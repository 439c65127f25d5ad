"""Shaping: what leaves by a network interface is diverted to a delay line (:mod:`tests.lab.delay_line`)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.machine import end_group

if TYPE_CHECKING:
    from tests.lab.host import Host

_PROGRAM = str(Path(__file__).with_name("delay_line.py"))
_RATE = re.compile(r"(\d+(?:\.\d+)?)([kmg]?)bit")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


@dataclass(frozen=True)
class Shape:
    """How packets go one way. ``ValueError`` for what no link can be."""

    delay: float = 0.0
    """Milliseconds from one end to the other."""
    jitter: float = 0.0
    """At most so many milliseconds more or less. It does not change the order."""
    loss: float = 0.0
    """The fraction of packets that is lost, 0 to 1."""
    reorder: float = 0.0
    """The fraction of packets that overtakes those on their way: it is not delayed."""
    rate: str | None = None
    """Such as ``"20mbit"`` or ``"512kbit"``, counted with Ethernet headers. ``None``: as fast as it goes."""
    queue: float = 100.0
    """Milliseconds that a packet may wait because of the rate before it is dropped."""

    def __post_init__(self) -> None:
        if not (0 <= self.loss <= 1 and 0 <= self.reorder <= 1):
            raise ValueError("loss and reorder are fractions, from 0 to 1")
        if min(self.delay, self.jitter, self.queue) < 0 or self.jitter > self.delay:
            raise ValueError("no packet can come before it was sent")
        if self.reorder and not self.delay:
            raise ValueError("without a delay no packet can overtake another")
        self.bits_per_second()

    def bits_per_second(self) -> float:
        """The rate as a number; 0 for none."""
        if self.rate is None:
            return 0.0
        match = _RATE.fullmatch(self.rate)
        if match is None or float(match[1]) == 0:
            raise ValueError(f'{self.rate!r} is no rate such as "20mbit"')
        return float(match[1]) * _UNITS[match[2]]


class Shaper:
    """A delay line for what ``host`` sends by ``device``, until closed."""

    def __init__(self, host: Host, device: str) -> None:
        self._host, self._device = host, device
        tap = f"tap-{device}"
        # Isolated: the program needs no packages, and starts in a few milliseconds.
        self._process = host.popen(
            *(sys.executable, "-I", "-S", _PROGRAM, tap, device), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            self.set(Shape())
            host.sysctl(f"net.ipv6.conf.{tap}.disable_ipv6", 1)
            host.ip("link", "set", tap, "txqueuelen", "10000", "mtu", "65521", "up")
            host.run("tc", "qdisc", "add", "dev", device, "clsact")
            everything = ("protocol", "all", "u32", "match", "u32", "0", "0")
            divert = ("action", "mirred", "egress", "redirect", "dev", tap)
            host.run("tc", "filter", "add", "dev", device, "egress", *everything, *divert)
        except BaseException:
            end_group(self._process)
            raise

    @property
    def pid(self) -> int:
        """The process id of its program."""
        return self._process.pid

    def set(self, shape: Shape) -> None:
        """The shape of what is sent from now on. It is in force when this returns."""
        parameters = {
            "delay": shape.delay / 1000,
            "jitter": shape.jitter / 1000,
            "loss": shape.loss,
            "reorder": shape.reorder,
            "rate": shape.bits_per_second(),
            "queue": shape.queue / 1000,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(parameters).encode() + b"\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == b"changed\n", f"the delay line of {self._host.name} has ended"

    def close(self) -> None:
        """Pass packets on as before; those on their way are lost."""
        self._host.run("tc", "qdisc", "delete", "dev", self._device, "clsact", check=False)
        end_group(self._process)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
