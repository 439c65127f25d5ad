"""Where programs of a benchmark run: on this machine, or in one of two network namespaces joined by a cable."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.measuring import BenchError, Skipped
from bench.programs import find_program, run

MTU = 1500
_NEAR_ADDRESS, _FAR_ADDRESS = "198.18.0.1", "198.18.0.2"  # RFC 2544: set aside for benchmarks
_numbers = count(1)


@dataclass(frozen=True)
class Place:
    """Somewhere to run programs. ``address`` reaches it from the other place; ``prefix`` goes before a command."""

    address: str
    prefix: tuple[str, ...] = ()

    def command(self, *command: str) -> list[str]:
        """``command`` as it runs in this place."""
        return [*self.prefix, *command]


HERE = Place("127.0.0.1")


@contextmanager
def scratch(within: Path | None = None) -> Iterator[Path]:
    """A directory for the length of the block; ``within``: not where temporary files are, but there."""
    with tempfile.TemporaryDirectory(prefix="irosh-bench-", dir=within) as name:
        yield Path(name)


@contextmanager
def two_namespaces() -> Iterator[tuple[Place, Place]]:
    """A near and a far network namespace, joined by a veth pair with an MTU of 1500, without any other route.

    They are removed when the context ends. :class:`Skipped` where they cannot be made.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Skipped("needs Linux and root, for network namespaces")
    ip = find_program("ip", "iproute2")
    unique = f"irosh-bench-{os.getpid()}-{next(_numbers)}"
    near, far = f"{unique}-near", f"{unique}-far"
    with contextlib.ExitStack() as stack:
        for name in (near, far):
            try:
                run([ip, "netns", "add", name])
            except BenchError as error:
                raise Skipped(f"cannot make network namespaces here: {error}") from None
            stack.callback(run, [ip, "netns", "del", name])
        veth = ("mtu", str(MTU), "type", "veth", "peer", "name", "cable", "netns", far, "mtu", str(MTU))
        run([ip, "link", "add", "cable", "netns", near, *veth])
        for name, address in ((near, _NEAR_ADDRESS), (far, _FAR_ADDRESS)):
            run([ip, "-n", name, "addr", "add", f"{address}/30", "dev", "cable"])
            for device in ("lo", "cable"):
                run([ip, "-n", name, "link", "set", device, "up"])
        yield _place(ip, near, _NEAR_ADDRESS), _place(ip, far, _FAR_ADDRESS)


@contextmanager
def rate_limited(places: Sequence[Place], rate: str) -> Iterator[None]:
    """Each of the places of :func:`two_namespaces` sends ``rate`` at most, as tc(8) writes it, while the context lasts.

    :class:`Skipped` where the kernel has no token bucket filter.
    """
    tc = find_program("tc", "iproute2")
    with contextlib.ExitStack() as stack:
        for place in places:
            command = place.command(tc, "qdisc", "add", "dev", "cable", "root", "tbf", "rate", rate)
            try:
                run([*command, "burst", "256kb", "latency", "50ms"])
            except BenchError as error:
                raise Skipped(f"cannot limit the rate of a link here: {error}") from None
            stack.callback(run, place.command(tc, "qdisc", "del", "dev", "cable", "root"))
        yield


def _place(ip: str, name: str, address: str) -> Place:
    return Place(address, (ip, "netns", "exec", name))


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def python(module: str, *arguments: str) -> Sequence[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-m", module, *arguments]
