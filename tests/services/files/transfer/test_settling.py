"""The last steps of files: what goes wrong with one does not stop the others, and is not lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.access import FolderHandle
from irosh.services.files.transfer.partial import open_partial
from irosh.services.files.transfer.settling import Settled, Settler


def arrived(folder: FolderHandle, name: bytes) -> Settled:
    """A whole file, not yet in place."""
    partial = open_partial(folder, name, 1, 1)
    os.pwrite(partial.descriptor, b"x", 0)
    return Settled(partial, 0, [name], 1, 0o640, 1_000_000_000)


@pytest.mark.parametrize("sync", [False, True])
def test_one_that_cannot_be_placed(tmp_path: Path, sync: bool) -> None:
    folder = FolderHandle(os.open(tmp_path, os.O_RDONLY))
    (tmp_path / "5").mkdir()
    done: list[bytes] = []
    failed: list[bytes] = []
    settler = Settler(
        sync=sync,
        done=lambda file: done.append(file.parts[0]),
        failed=lambda file, error: failed.append(file.parts[0]),
    )
    for number in range(200):
        settler.add(arrived(folder, str(number).encode()))
    settler.wait()
    settler.close()
    assert failed == [b"5"]
    assert len(done) == 199
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(str(number) for number in range(200))
    assert (tmp_path / "7").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "7").stat().st_mtime_ns == 1_000_000_000


def test_what_a_callback_raises_is_raised_where_it_is_waited_for(tmp_path: Path) -> None:
    folder = FolderHandle(os.open(tmp_path, os.O_RDONLY))

    def lost(_file: Settled) -> None:
        raise IroshError(ErrorCode.CONNECTION_LOST, "gone")

    settler = Settler(sync=False, done=lost, failed=lambda file, error: None)
    for number in range(500):
        settler.add(arrived(folder, str(number).encode()))
    with pytest.raises(IroshError, match="gone"):
        settler.wait()
    settler.close()
