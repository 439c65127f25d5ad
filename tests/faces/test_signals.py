"""Signals that ask a command to end: its clean-up is done once, whatever comes meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

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

_NODE = """
import os, signal, sys, threading
from pathlib import Path
from irosh.faces.cli.background_node import BackgroundNode
from irosh.faces.cli.options import Settings
from irosh.faces.cli.signals import ended_as_interrupted

def ask() -> None:
    leaving.wait()
    os.kill(os.getpid(), signal.SIGTERM)

settings = Settings(state=Path(sys.argv[1]))
leaving = threading.Event()
threading.Thread(target=ask).start()
try:
    with ended_as_interrupted(), BackgroundNode(settings, settings.output):
        print(os.path.exists(sys.argv[1] + "/control.sock"))
        leaving.set()
except KeyboardInterrupt:
    print("interrupted", os.path.exists(sys.argv[1] + "/control.sock"), flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_cleans_up_is_not_interrupted_again(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begun\n"
        program.send_signal(number)
        assert program.communicate(timeout=30)[0] == "cleaned up\ninterrupted\n"
    assert program.returncode == 0


def test_a_node_that_ends_by_itself_is_not_left_half_done(tmp_path: Path) -> None:
    """As when a session is killed on the host and its command on this side in the same moment."""
    (tmp_path / "config.toml").write_text('[network]\nrelays = []\nbind = "127.0.0.1:0"\n')
    done = subprocess.run(
        [sys.executable, "-c", _NODE, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "True\ninterrupted False\n", done.stderr
