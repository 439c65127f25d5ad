"""The file that the trust store is kept in: private, whole, and shared by several processes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import tempfile
from pathlib import Path

import pytest

from irosh.core import database
from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode
from irosh.core.trust import TrustStore
from tests.support import scripts
from tests.support.failures import fails

ALICE = "a1" * 32

SHELL = parse_capabilities(["shell"])


def test_the_file_and_its_companions_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with TrustStore(tmp_path / "irosh.db") as store:
            store.pin(ALICE, petname="x", origin="invite")
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"irosh.db": 0o600, "irosh.db-wal": 0o600, "irosh.db-shm": 0o600}


def test_a_file_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    TrustStore(path).close()
    path.chmod(0o644)
    TrustStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "irosh.db")
    store.close()
    store.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA user_version = 999")
    with fails(ErrorCode.STATE_UNUSABLE, "newer irosh (schema 999"):
        TrustStore(path)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (999,)
        assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    path.write_bytes(b"Dear diary, " * 1000)
    with fails(ErrorCode.STATE_UNUSABLE, "move the file away"):
        TrustStore(path)


def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    with TrustStore(path) as store:
        for number in range(200):
            store.pin(f"{number:064x}", petname=f"p{number}", origin="manual", capabilities=SHELL)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with fails(ErrorCode.STATE_UNUSABLE, "move the file away"), TrustStore(path) as store:
        store.peers()


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with fails(ErrorCode.STATE_UNUSABLE, "--state"):
        TrustStore(tmp_path / "missing" / "irosh.db")


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "irosh.db").mkdir(mode=0o700)
    with fails(ErrorCode.STATE_UNUSABLE, "irosh.db"):
        TrustStore(tmp_path / "irosh.db")


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_file_that_is_not_ours(mode: int) -> None:
    script = """
        if os.geteuid() == 0:  # may write anywhere otherwise
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        attempt(lambda: TrustStore(path))
    """
    # Not tmp_path: an unprivileged process could not even look into it.
    with tempfile.TemporaryDirectory() as base:
        path = Path(base, "irosh.db")
        TrustStore(path).close()
        path.chmod(mode)
        Path(base).chmod(0o555)
        said = scripts.run(script, path)
        Path(base).chmod(0o700)
    assert said.startswith("state-unusable")
    assert "--state" in said


def test_a_directory_that_is_not_ours() -> None:
    script = """
        if os.geteuid() == 0:
            os.setgroups([]), os.setgid(65534), os.setuid(65534)
        attempt(lambda: TrustStore(path))
    """
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o555)
        said = scripts.run(script, Path(base, "irosh.db"))
        Path(base).chmod(0o700)
    assert said.startswith("state-unusable")
    assert "--state" in said


# Several processes


def test_many_processes_open_a_new_file_and_write_at_once(tmp_path: Path) -> None:
    script = """
        worker = int(sys.argv[2])
        wait_for_go()
        with TrustStore(path) as store:
            for number in range(50):
                store.audit("test", None, "used", f"{worker}.{number}")
                peer = store.pin(f"{worker * 100 + number:064x}", petname=None, origin="manual")
            print("done")
    """
    path = tmp_path / "irosh.db"
    assert scripts.race(script, path, [(str(worker),) for worker in range(6)]) == ["done"] * 6
    with TrustStore(path) as store:
        assert len(store.peers()) == 300
        assert len({entry.detail for entry in store.audit_log(limit=1000)}) == 300


def test_a_new_file_can_be_opened_by_all_at_the_same_instant(tmp_path: Path) -> None:
    # Switching a new file to write-ahead logging is where SQLite does not wait for others by itself.
    script = """
        for line in sys.stdin:
            attempt(lambda: TrustStore(path / line.strip()).close())
            sys.stdout.flush()
    """
    workers = [scripts.start(script, tmp_path) for _ in range(6)]
    for number in range(40):
        for worker in workers:
            scripts.say(worker, f"{number}.db")
        for worker in workers:
            assert scripts.line_of(worker) == "ok"
    for worker in workers:
        worker.communicate(timeout=60)


def test_a_process_killed_in_a_transaction_leaves_nothing_half_done(tmp_path: Path) -> None:
    script = """
        store = TrustStore(path)
        store.pin("a1" * 32, petname="before", origin="manual")
        import sqlite3
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("UPDATE peers SET petname = 'during'")
        print("ready", flush=True)
        sys.stdin.read()
    """
    path = tmp_path / "irosh.db"
    with scripts.start(script, path) as process:
        assert scripts.line_of(process) == "ready"
        with TrustStore(path) as store:
            assert store.find("before") is not None, "readers do not wait for a writer"
            process.kill()
            process.wait(30)
            store.rename(ALICE, "after")
            assert store.find("after") is not None


def test_a_file_that_another_process_keeps_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    path = tmp_path / "irosh.db"
    with TrustStore(path) as store, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with fails(ErrorCode.STATE_IN_USE, "locked"):
            store.pin(ALICE, petname="x", origin="manual")
        other.execute("ROLLBACK")
        store.pin(ALICE, petname="x", origin="manual")
