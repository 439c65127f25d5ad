"""A full disk under the database: said, survived, and nothing is used up by what failed."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from irosh.core import database
from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode
from irosh.core.trust import TrustStore
from tests.support import scripts
from tests.support.failures import fails

ALICE = "a1" * 32
BOB = "b0" * 32

SHELL = parse_capabilities(["shell"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "irosh-test", str(mounted)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("needs root, to mount a small file system")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def fill(disk: Path) -> Path:
    """Use up all space on ``disk``."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return filler


def test_a_full_disk_is_said_and_survived(small_disk: Path) -> None:
    with TrustStore(small_disk / "irosh.db") as store:
        store.pin(ALICE, petname="x", origin="manual", capabilities=SHELL)
        secret = store.create_invite(SHELL)
        filler = fill(small_disk)
        with fails(ErrorCode.DISK_FULL, "free some space"):
            for _ in range(10_000):
                store.audit("connection", ALICE, "refused", "x" * 400)
        with fails(ErrorCode.DISK_FULL):
            for number in range(10_000):
                store.pin(f"{number:064x}", petname=None, origin="manual", capabilities=SHELL)
        with fails(ErrorCode.DISK_FULL):
            store.redeem_invite(secret, BOB)
        assert store.active(ALICE) is not None, "what is there can still be read"
        filler.unlink()
        assert store.redeem_invite(secret, BOB) == SHELL, "the failed attempt used nothing up"
        store.audit("connection", ALICE, "accepted")
        assert store.audit_log(limit=1)[0].outcome == "accepted"
    with TrustStore(small_disk / "irosh.db") as store:
        assert store.active(ALICE) is not None


def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    filler = fill(small_disk)
    with fails(ErrorCode.DISK_FULL, "free some space"):
        TrustStore(small_disk / "irosh.db")
    filler.unlink()
    with TrustStore(small_disk / "irosh.db") as store:
        store.pin(ALICE, petname="x", origin="manual")


def test_a_database_that_may_not_grow(tmp_path: Path) -> None:
    opened = database.Database(tmp_path / "irosh.db")
    opened.query("PRAGMA max_page_count = 1")  # SQLite takes the present size, if that is more
    with fails(ErrorCode.DISK_FULL, "free some space"), opened.transaction():
        for number in range(1000):
            opened.execute(
                "INSERT INTO audit (time, event, outcome, detail) VALUES (?, 'x', 'used', ?)", (number, "x" * 400)
            )
    assert opened.query("SELECT count(*) FROM audit") == [(0,)]
    opened.close()


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    script = """
        store = TrustStore(path)
        store.pin("a1" * 32, petname="x", origin="manual")
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
        def flood():
            for number in range(2000):
                store.audit("connection", None, "refused", "x" * 400)
        attempt(flood)
        print(store.get("a1" * 32).petname)
    """
    error, still_there = scripts.run(script, tmp_path / "irosh.db").splitlines()
    assert error.startswith("state-unusable")
    assert "ulimit" in error
    assert still_there == "x"
