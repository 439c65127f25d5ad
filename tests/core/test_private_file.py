"""Files that are private, and written so that nothing gets lost."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from irosh.core.private_file import create_private_file, write_private_file
from tests.support.system import in_small_tmpfs, mode_of


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(0)
    try:
        write_private_file(path, b"one")
    finally:
        os.umask(before)
    assert mode_of(path) == 0o600
    path.chmod(0o666)
    with path.open("rb") as reader:
        write_private_file(path, b"two" * 100_000)
        assert reader.read() == b"one"  # who has it open keeps the whole old one
    assert path.read_bytes() == b"two" * 100_000
    assert mode_of(path) == 0o600
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_a_private_file_is_private_from_the_first_instant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    opened: list[int] = []
    real_open = os.open

    def watching_open(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        opened.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    before = os.umask(umask)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", watching_open)
            write_private_file(tmp_path / "file", b"secret")
    finally:
        os.umask(before)
    assert opened[0] & ~0o600 == 0
    assert mode_of(tmp_path / "file") == 0o600


def test_a_private_file_does_not_follow_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "link").symlink_to("target")
    with pytest.raises(FileExistsError):
        create_private_file(tmp_path / "link", b"new")
    write_private_file(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()


def test_creating_does_not_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "file"
    create_private_file(path, b"one")
    with pytest.raises(FileExistsError):
        create_private_file(path, b"two")
    assert path.read_bytes() == b"one"
    assert mode_of(path) == 0o600
    assert os.listdir(tmp_path) == ["file"]


WRITE_TOO_MUCH = """
import os, resource, sys
from pathlib import Path
from irosh.core.errors import IroshError
from irosh.core.private_file import create_private_file, write_private_file
from irosh.core.state import StateDirectory
place = Path(sys.argv[1])
write_private_file(place / "file", b"old")
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
for write, name in ((write_private_file, "file"), (create_private_file, "other")):
    try:
        write(place / name, bytes(10_000_000))
    except IroshError as error:
        print(error.code, bool(error.hint), os.listdir(place), (place / "file").read_text())
"""


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    result = in_small_tmpfs(tmp_path, "size=1m,mode=700", WRITE_TOO_MUCH)
    assert result.stdout == "disk-full True ['file'] old\n" * 2, result.stderr


def test_a_file_size_limit_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE_TOO_MUCH, str(tmp_path), "limit"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == "disk-full True ['file'] old\n" * 2, result.stderr
