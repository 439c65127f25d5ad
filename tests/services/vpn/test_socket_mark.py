"""The sockets of a process that runs are marked: those it has, and those it makes; nobody else's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.socket_mark import marked_sockets
from irosh.services.vpn.underlay import keeping_out
from tests.lab.processes import wait_until
from tests.lab.requirements import requires_netns

pytestmark = [pytest.mark.netns, requires_netns()]

MARK = 0x1234

# For each line of input: the mark of the socket it has had from the beginning, and those of new ones.
PROGRAM = f"""
import socket, sys
first = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for line in sys.stdin:
    new = [socket.socket(family, kind) for family in (2, 10) for kind in (1, 2)]
    print(*(each.getsockopt(1, {socket.SO_MARK}) for each in (first, *new)), flush=True)
"""


@contextmanager
def another_process() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def marks(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return [int(word) for word in process.stdout.readline().split()]


def test_those_it_has_and_those_it_makes() -> None:
    with another_process() as process, another_process() as other:
        assert marks(process) == marks(other) == [0] * 5
        with marked_sockets(process.pid, MARK):
            assert marks(process) == [MARK] * 5
            assert marks(other) == [0] * 5
        assert marks(process) == [MARK] + [0] * 4


def test_a_process_that_is_not_there() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(IroshError) as caught, keeping_out(process.pid):
        pass
    assert caught.value.code is ErrorCode.VPN_UNAVAILABLE
    assert "--state" in caught.value.hint


def test_one_in_another_network() -> None:
    with subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE) as process:
        own = Path("/proc/self/ns/net")
        wait_until(lambda: not own.samefile(f"/proc/{process.pid}/ns/net"), what="it is elsewhere")
        with pytest.raises(IroshError) as caught, keeping_out(process.pid):
            pass
        process.kill()
    assert "another network" in caught.value.message


def test_the_process_itself_has_been_prepared() -> None:
    with keeping_out(os.getpid()), socket.socket() as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 0
