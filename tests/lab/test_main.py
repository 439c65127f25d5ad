"""The laboratory for people."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.processes import processes_with, wait_until
from tests.lab.requirements import requires, requires_netns, requires_shaping

pytestmark = [pytest.mark.netns, requires_netns(), requires_shaping(), requires("turnserver")]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_there_until_interrupted(number: signal.Signals) -> None:
    command = (sys.executable, "-m", "tests.lab", "symmetric", "none", "--ipv6", "--delay", "5")
    marker = f"600.{os.getpid()}{number}"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            shown = {}
            while "Ctrl-C" not in (line := process.stdout.readline()) and line:
                shown[line.split()[0]] = line
            shells = {name: line[line.index("ip netns") :].split() for name, line in shown.items() if "bash" in line}
            assert list(shells) == ["alice", "bob", "server"]
            assert "behind alice-nat" in shown["alice"]
            assert "198.51.100.2:3478" in shown["STUN"]
            left_open = subprocess.Popen([*shells["bob"][:-1], "sleep", marker])
            wait_until(lambda: processes_with(marker), what="a program runs on a host")
        finally:
            process.send_signal(number)
        assert process.stdout.read() == "removed\n"
    assert process.returncode == 0
    assert left_open.wait(10) != 0
    assert not any(Path("/run/netns", shell[3]).exists() for shell in shells.values())
