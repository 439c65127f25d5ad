"""What interrupted transfers leave does not pile up, and nothing else is removed with it."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from irosh.services.files.transfer.access import FolderHandle
from irosh.services.files.transfer.leftovers import sweep
from irosh.services.files.transfer.partial import PREFIX, partial_name, whole_name
from tests.services.files.transfer.ends import order, transfer
from tests.services.files.transfer.trees import hidden

LATER = 10.0  # seconds from now: all that is there was changed before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def left(folder: Path, name: bytes, size: int = 1) -> Path:
    """A partial file of a version of ``name``, as an interrupted transfer leaves it."""
    path = folder / os.fsdecode(partial_name(name, size, 1))
    path.write_bytes(b"part")
    return path


def swept(folder: Path, before: float) -> set[str]:
    """Remove what is older; what is left in the folder."""
    handle = FolderHandle(os.open(folder, os.O_RDONLY))
    names = sweep(handle, time.time() + before)
    now = {path.name for path in folder.iterdir()}
    assert {os.fsdecode(name) for name in names} <= now
    return now


def test_old_ones_are_removed_and_young_ones_are_kept(folder: Path) -> None:
    path = left(folder, b"name")
    path.chmod(0o444)
    os.utime(path, ns=(1, 1))  # a file that arrived whole has the time of its source
    (folder / "name").write_text("x")
    assert swept(folder, -LATER) == {path.name, "name"}
    assert swept(folder, LATER) == {"name"}


def test_one_that_a_transfer_is_at_is_kept(folder: Path) -> None:
    path = left(folder, b"name")
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert swept(folder, LATER) == {path.name}
    assert swept(folder, LATER) == set()


def test_nothing_behind_a_link_and_nothing_that_is_no_file(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    prefix = os.fsdecode(PREFIX)
    (folder / f"{prefix}link").symlink_to(tmp_path / "precious")
    (folder / f"{prefix}folder").mkdir()
    os.mkfifo(folder / f"{prefix}pipe")
    os.link(tmp_path / "precious", folder / f"{prefix}second-name")
    assert swept(folder, LATER) == {f"{prefix}folder", f"{prefix}pipe", f"{prefix}second-name"}
    assert (tmp_path / "precious").read_text() == "x"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_what_belongs_to_somebody_else_is_kept(folder: Path) -> None:
    path = left(folder, b"name")
    link = folder / f"{os.fsdecode(PREFIX)}link"
    link.symlink_to("nowhere")
    for each in (path, link):
        os.chown(each, 65_534, 65_534, follow_symlinks=False)
    assert swept(folder, LATER) == {path.name, link.name}


@pytest.mark.parametrize("size", [100, 200_000])
@pytest.mark.parametrize("resume", [False, True])
def test_the_next_transfer_of_the_same_name_removes_them(folder: Path, size: int, resume: bool) -> None:
    """Whether it is copied, or found to be there already; what is left of other names stays."""
    (folder / "source").write_bytes(os.urandom(size))
    (folder / "there").mkdir()
    other = left(folder / "there", b"other")
    (folder / "there" / os.fsdecode(whole_name(b"x" * 250))).write_bytes(b"its name is too long to be hidden as it is")
    others = {other, *hidden(folder)}
    for _ in range(2):
        for version in range(3):
            left(folder / "there", b"source", version)
        (folder / "there" / os.fsdecode(whole_name(b"source"))).write_bytes(b"a small one")
        transfer(order(folder / "source", resume=resume), folder / "there")
        assert set(hidden(folder)) == others
    assert (folder / "there" / "source").read_bytes() == (folder / "source").read_bytes()
