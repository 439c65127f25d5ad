"""Disks that are full, that refuse, or that keep any time: what can arrive does, and the rest is told."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from tests.services.files.transfer.ends import Watched, order, transfer
from tests.services.files.transfer.trees import MEBIBYTE, hidden, tree


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a file system of its own")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "none", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("kind", ["large", "small"])
def test_a_full_disk(small_disk: Path, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (small_disk / "old").write_text("untouched")
    if kind == "large":
        (source / "file").write_bytes(os.urandom(8 * MEBIBYTE))
    else:
        for number in range(200):
            (source / str(number)).write_bytes(os.urandom(60_000))
    with pytest.raises(IroshError) as failure:
        transfer(order(source), small_disk)
    assert failure.value.code is ErrorCode.DISK_FULL
    assert (small_disk / "old").read_text() == "untouched"
    if kind == "large":
        (left,) = hidden(small_disk)
        assert left.stat().st_size > MEBIBYTE
        subprocess.run(["mount", "-o", "remount,size=20M", str(small_disk)], check=True)
        watched = Watched()
        sent: list[int] = []
        watched.on_moved = sent.append
        transfer(order(source, resume=True), small_disk, sending=watched)
        assert sent[0] >= MEBIBYTE
        assert (small_disk / "source" / "file").read_bytes() == (source / "file").read_bytes()
    else:
        arrived = list((small_disk / "source").iterdir())
        assert arrived
        assert all(path.read_bytes() == (source / path.name).read_bytes() for path in arrived)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that other users get to, as pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="irosh-transfer-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_permissions_that_are_missing(open_place: Path) -> None:
    """What may not be read or written is named; the others go on."""
    source = open_place / "source"
    (source / "closed").mkdir(parents=True)
    (source / "secret").write_text("x")
    (source / "open").write_text("y")
    (source / "closed").chmod(0)
    (source / "secret").chmod(0)
    (open_place / "there").mkdir()
    (open_place / "there").chmod(0o777)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(65_534)
            watched = Watched()
            result = transfer(order(source), open_place / "there", sending=watched)
            said = sorted(watched.problems)
            denied = "Permission denied"
            good = said == [("source/closed", denied), ("source/secret", denied)] and result.files == 1
            status = 0 if good else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("seconds", [2**40, 2**62, -(2**62)])
def test_a_time_that_nobody_lives_to_see_stops_nothing(small_disk: Path, tmp_path: Path, seconds: int) -> None:
    """Some file systems keep any that is set, by whoever may write there."""
    folder = small_disk / "folder"
    folder.mkdir()
    (folder / "link").symlink_to("small")
    (folder / "small").write_bytes(b"content")
    (folder / "large").write_bytes(bytes(MEBIBYTE))
    for each in (*folder.iterdir(), folder):
        os.utime(each, ns=(seconds * 10**9, seconds * 10**9), follow_symlinks=False)
    for resume in (False, True):
        assert transfer(order(folder, links=True, resume=resume), tmp_path).failed == 0
    assert tree(tmp_path / "folder").keys() == tree(folder).keys()
