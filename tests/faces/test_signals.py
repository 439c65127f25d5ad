"""Signals that ask a command to end: its clean-up is done once, whatever comes meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_PROGRAM = """
import os, signal
from irosh.faces.cli.signals import ended_as_interrupted

try:
    with ended_as_interrupted():
        try:
            print("begun", flush=True)
            signal.pause()
        finally:
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), number)
            print("cleaned up", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_cleans_up_is_not_interrupted_again(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        program.send_signal(number)
        assert program.communicate(timeout=30)[0] == "cleaned up\ninterrupted\n"
    assert program.returncode == 0
