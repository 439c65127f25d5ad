"""The lock of a state directory: one node, which is named to all others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.node_lock import NodeLock, holder
from irosh.core.state import StateDirectory
from tests.support.system import mode_of


def test_the_lock_excludes_and_names_the_holder(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.holder() is None
    assert os.listdir(tmp_path) == []
    with state.lock():
        assert state.holder() == os.getpid()
        other = state.lock()
        with pytest.raises(IroshError, match=f"{tmp_path} is in use by process {os.getpid()}") as caught:
            other.acquire()
        assert caught.value.code == ErrorCode.STATE_IN_USE
        assert caught.value.hint
        other.release()
        assert state.holder() == os.getpid()
    assert state.holder() is None
    with other:
        assert state.holder() == os.getpid()
    assert mode_of(state.lock_path) == 0o600


def start_node(lock: Path) -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; from irosh.core.node_lock import NodeLock\n"
        "NodeLock(Path(sys.argv[1])).acquire(); print('locked', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def test_another_process_is_named_and_sigkill_frees_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "node.lock"
    with start_node(path) as process:
        assert holder(path) == process.pid
        with pytest.raises(IroshError, match=f"process {process.pid}"):
            NodeLock(path).acquire()
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert holder(path) is None
        with NodeLock(path):
            assert holder(path) == os.getpid()


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "node.lock"
    lock = NodeLock(path)
    lock.acquire()
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    try:
        lock.release()
        assert holder(path) is None
    finally:
        child.communicate()


def test_looking_at_the_lock_does_not_turn_a_starting_node_away(tmp_path: Path) -> None:
    path = tmp_path / "node.lock"
    done = threading.Event()
    seen: set[int | None] = set()

    def look() -> None:
        while not done.is_set():
            seen.add(holder(path))

    watchers = [threading.Thread(target=look) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(300):
            with NodeLock(path):
                assert holder(path) == os.getpid()
    finally:
        done.set()
        for watcher in watchers:
            watcher.join()
    assert seen <= {None, os.getpid()}


def test_a_lock_file_that_cannot_be_is_reported(tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "node.lock").symlink_to("target")
    with pytest.raises(IroshError) as caught:
        NodeLock(tmp_path / "node.lock").acquire()
    assert caught.value.code == ErrorCode.STATE_UNUSABLE
    with pytest.raises(IroshError):
        NodeLock(tmp_path / "missing" / "node.lock").acquire()
    assert holder(tmp_path / "missing" / "node.lock") is None
