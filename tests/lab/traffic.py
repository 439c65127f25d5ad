"""Traffic that runs while something happens to the network: heartbeats by TCP and UDP, and a checked download."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Protocol

from tests.lab.host import Host
from tests.lab.processes import wait_until
from tests.lab.servers import TIMEOUT, echo

BEAT = 0.05
PATTERN = random.Random(1).randbytes(1 << 20)
PATIENCE = 200.0  # of connections that are to live through an outage
_MIB = 1 << 20


class Beats(Protocol):
    """When answers came. Times are those of ``time.monotonic()``."""

    arrivals: list[float]


def first_after(beats: Beats, moment: float, *, timeout: float) -> float:
    """Seconds from ``moment`` to the first answer after it, waited for."""
    wait_until(lambda: beats.arrivals[-1] > moment, timeout=timeout, what="traffic flows again")
    return next(each for each in beats.arrivals if each > moment) - moment


def longest_gap(beats: Beats) -> float:
    """Seconds between two answers, at most."""
    arrivals = beats.arrivals[:]
    return max((later - earlier for earlier, later in pairwise(arrivals)), default=0.0)


class TcpBeats:
    """A line sent over one connection every ``BEAT`` seconds; each must come back once, in order."""

    def __init__(self, sock: socket.socket) -> None:
        self.arrivals: list[float] = []
        self.failure: str | None = None
        self._sock = sock
        self._ending = threading.Event()
        self._sent = 0
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._ending.wait(BEAT):
            self._sock.sendall(b"%d\n" % self._sent)
            self._sent += 1
        self._sock.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        try:
            with self._sock.makefile("rb") as lines:
                for number, line in enumerate(lines):
                    if int(line) != number:
                        raise ValueError(f"{line!r} came instead of {number}")
                    self.arrivals.append(time.monotonic())
            if not self._ending.is_set():
                raise ValueError("the connection has ended")
        except (OSError, ValueError) as error:
            self.failure = repr(error)

    def end(self) -> None:
        """Send no more, and wait for what is still to come."""
        self._ending.set()
        for thread in self._threads:
            thread.join(TIMEOUT)

    def check(self) -> None:
        """Everything sent has come back."""
        assert self.failure is None, self.failure
        assert len(self.arrivals) == self._sent, f"{len(self.arrivals)} of {self._sent} lines came back"


@contextmanager
def tcp_beats(machine: Host, address: tuple[str, int]) -> Iterator[TcpBeats]:
    """To an echoing server at ``address`` on ``machine``. The block begins when the first line is back."""
    with machine.inside():
        sock = socket.create_connection(address, TIMEOUT)
    with sock:
        sock.settimeout(PATIENCE)
        beats = TcpBeats(sock)
        wait_until(lambda: beats.arrivals, what="the first line comes back")
        try:
            yield beats
        except BaseException:
            beats.end()
            raise
        beats.end()
        beats.check()


class UdpBeats:
    """As :class:`TcpBeats`, by packets, which may get lost."""

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.arrivals: list[float] = []
        self._sock = sock
        self._address = address
        self._ending = threading.Event()
        sock.settimeout(BEAT)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            begun = time.monotonic()
            self._sock.sendto(b"beat", self._address)
            while (left := begun + BEAT - time.monotonic()) > 0:
                self._sock.settimeout(left)
                try:
                    self._sock.recv(100)
                    self.arrivals.append(time.monotonic())
                except OSError:
                    break

    def close(self) -> None:
        """Send no more."""
        self._ending.set()
        self._thread.join(TIMEOUT)


@contextmanager
def udp_beats(machine: Host, address: tuple[str, int]) -> Iterator[UdpBeats]:
    """See :class:`UdpBeats`."""
    with machine.inside():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        beats = UdpBeats(sock, address)
        try:
            wait_until(lambda: beats.arrivals, what="the first packet comes back")
            yield beats
        finally:
            beats.close()


def patient_echo(connection: socket.socket) -> None:
    """For a server: sends back what comes, even when nothing comes for a long time."""
    connection.settimeout(PATIENCE)
    echo(connection)


def send_pattern(size: int, hurry: threading.Event, *, pace: float) -> Callable[[socket.socket], None]:
    """For a server: sends ``size`` bytes, whose hash :func:`pattern_hash` knows; ``pace`` of them a second at most,
    until there is a ``hurry``."""

    def handler(connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        left = size
        while left:
            part = PATTERN[: min(left, _MIB)]
            connection.sendall(part)
            left -= len(part)
            hurry.wait(len(part) / pace)

    return handler


def pattern_hash(size: int) -> str:
    """SHA-256 of what :func:`send_pattern` sends."""
    digest = hashlib.sha256()
    for start in range(0, size, _MIB):
        digest.update(PATTERN[: min(size - start, _MIB)])
    return digest.hexdigest()


class Download:
    """Everything that comes from one connection, hashed in a thread of its own."""

    def __init__(self, machine: Host, address: tuple[str, int]) -> None:
        with machine.inside():
            self._sock = socket.create_connection(address, TIMEOUT)
        self._sock.settimeout(PATIENCE)
        self.received = 0
        self.begun = time.monotonic()
        self.ended: float | None = None
        self._digest = hashlib.sha256()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._sock:
                while data := self._sock.recv(_MIB):
                    self._digest.update(data)
                    self.received += len(data)
        except OSError as error:
            self._failure = error
        self.ended = time.monotonic()

    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended is not None

    def wait_for(self, size: int) -> None:
        """Until so many bytes have come."""
        wait_until(lambda: self.received >= size or self.ended, timeout=60, what=f"{size} bytes have come")

    def result(self, timeout: float) -> str:
        """The SHA-256 of all, once it has ended."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"still downloading; {self.received} bytes have come"
        assert self._failure is None, f"after {self.received} bytes: {self._failure!r}"
        return self._digest.hexdigest()
