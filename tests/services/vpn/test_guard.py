"""The guard undoes what it was told of: when asked, at the end, and when the process it guards is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.vpn.guard import Guard
from irosh.services.vpn.undo import Step
from tests.lab.processes import process_tree, wait_until


def note(path: Path, text: str) -> Step:
    return ("run", ["sh", "-c", f"echo {text} >> {path}"])


def test_in_reverse_order_when_a_use_ends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    guard = Guard()
    guard.add("one", [note(log, "first"), note(log, "second")])
    guard.add("one", [note(log, "third")])
    guard.add("other", [note(log, "other")])
    guard.undo("one")
    assert log.read_text().split() == ["third", "second", "first"]
    guard.close()
    assert log.read_text().split()[3:] == ["other"]
    assert len(log.read_text().split()) == 4, "nothing twice"


def test_a_file_gets_its_text_back_and_what_fails_holds_up_nothing(tmp_path: Path) -> None:
    file = tmp_path / "setting"
    file.write_text("1")
    guard = Guard()
    guard.add("use", [("write", [str(file), "0"]), ("run", ["no-such-program"]), ("run", ["false"])])
    guard.close()
    assert file.read_text() == "0"


def test_a_program_that_fails_says_why() -> None:
    guard = Guard()
    try:
        guard.run("true")
        with pytest.raises(IroshError, match="not this way") as caught:
            guard.run("sh", "-c", "echo not this way >&2; exit 1")
        assert caught.value.code is ErrorCode.VPN_UNAVAILABLE
    finally:
        guard.close()


def test_signals_of_the_terminal_do_not_end_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    guard = Guard()
    guard.add("use", [note(log, "undone")])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guard.pid, number)
    guard.add("use", [])
    guard.close()
    assert log.read_text() == "undone\n"


def test_a_guard_that_was_killed_is_done_without(tmp_path: Path) -> None:
    log = tmp_path / "log"
    guard = Guard()
    guard.add("use", [note(log, "undone")])
    os.kill(guard.pid, signal.SIGKILL)
    guard.close()
    assert log.read_text() == "undone\n"
    with pytest.raises(IroshError):
        guard.add("use", [])


def test_when_its_process_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = f"""
import time
from irosh.services.vpn.guard import Guard
guard = Guard()
guard.add("use", [("run", ["sh", "-c", "echo undone >> {log}"])])
print("ready", flush=True)
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
        tree = process_tree(process.pid)
        assert len(tree) == 2
        process.kill()
        process.wait()
    wait_until(lambda: not any(each.alive for each in tree), what="the guard has ended")
    assert log.read_text() == "undone\n"
