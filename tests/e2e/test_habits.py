"""What people who live in ssh(1) are used to, and would miss in ``irosh connect``."""

from __future__ import annotations

import signal

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


def test_n_leaves_the_input_to_others(loopback_pair: Pair) -> None:
    irosh = (*loopback_pair.client.command, "connect", "-n", PEER, "cat; echo ran")
    done = LOCAL.run("sh", "-c", '"$@"; cat', "sh", *irosh, stdin=b"left\n")
    assert done.stdout == b"ran\nleft\n"
