"""What people who live in ssh(1) are used to, and would miss in ``irosh connect``."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.servers import TIMEOUT


def test_a_command_outlives_its_terminal_under_nohup(loopback_pair: Pair) -> None:
    irosh = (*loopback_pair.client.command, "connect", PEER, "echo begun; read word; echo $word")
    shell = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh")
    with LOCAL.popen(*shell, *irosh, stdin=-1, stdout=-1) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGHUP)
        process.stdin.write(b"goes on\n")
        process.stdin.close()
        assert process.stdout.read() == b"goes on\n"
        assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_are_as_dev_null(loopback_pair: Pair, closed: str) -> None:
    irosh = (*loopback_pair.client.command, "connect", PEER, "cat; echo out; echo err >&2; exit 3")
    done = LOCAL.run("sh", "-c", f'"$@" {closed}', "sh", *irosh, stdin=b"in\n", check=False)
    assert done.returncode == 3
    assert done.stdout == (b"" if ">&-" in closed.split() else b"out\n" if "<&-" in closed.split() else b"in\nout\n")
    assert done.stderr == (b"" if "2>&-" in closed else b"err\n")


def test_n_leaves_the_input_to_others(loopback_pair: Pair) -> None:
    irosh = (*loopback_pair.client.command, "connect", "-n", PEER, "cat; echo ran")
    done = LOCAL.run("sh", "-c", '"$@"; cat', "sh", *irosh, stdin=b"left\n")
    assert done.stdout == b"ran\nleft\n"


def test_a_full_disk_is_told(loopback_pair: Pair) -> None:
    with Path("/dev/full").open("wb") as full:
        done = LOCAL.popen(*loopback_pair.client.command, "connect", PEER, "echo much", stdout=full, stderr=-1)
        _, said = done.communicate(timeout=TIMEOUT)
    assert (done.returncode, said) == (255, b"irosh: cannot write standard output: No space left on device\n")
