"""The state directory: where it is, and that it is private and can be used."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.private_file import write_private_file
from irosh.core.state import StateDirectory, default_state_directory
from tests.support.system import NOBODY, in_small_tmpfs, mode_of, needs_root

# --- where it is


def test_the_environment_chooses_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IROSH_STATE", "/somewhere/else")
    assert default_state_directory() == Path("/somewhere/else")
    monkeypatch.setenv("IROSH_STATE", "~/mine")
    assert default_state_directory() == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IROSH_STATE", "here")
    assert default_state_directory() == tmp_path / "here"


@pytest.mark.parametrize(
    ("platform", "xdg", "expected"),
    [
        ("linux", None, ".local/state/irosh"),
        ("linux", "", ".local/state/irosh"),
        ("linux", "relative", ".local/state/irosh"),
        ("linux", "/var/xdg", "/var/xdg/irosh"),
        ("darwin", "/var/xdg", "Library/Application Support/irosh"),
    ],
)
def test_the_default_follows_the_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, xdg: str | None, expected: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IROSH_STATE", "")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    if xdg is not None:
        monkeypatch.setenv("XDG_STATE_HOME", xdg)
    monkeypatch.setattr(sys, "platform", platform)
    assert default_state_directory() == tmp_path / expected


def test_without_a_home_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(_: object = None) -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("IROSH_STATE", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(IroshError, match="IROSH_STATE"):
        default_state_directory()


# --- making and checking it


def test_the_layout(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path)
    assert state.identity_path == tmp_path / "identity.key"
    assert state.config_path == tmp_path / "config.toml"
    assert state.database_path == tmp_path / "irosh.db"
    assert state.lock_path == tmp_path / "node.lock"
    assert state.lock().path == state.lock_path


def test_it_is_made_private_with_its_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = StateDirectory(Path("a/b/c"))
    assert state.path == tmp_path / "a/b/c"
    assert not (tmp_path / "a").exists()
    before = os.umask(0)
    try:
        assert state.ensure() is state
    finally:
        os.umask(before)
    for path in (state.path, *state.path.parents[:2]):
        assert mode_of(path) == 0o700
    state.ensure()


def test_a_readable_directory_is_accepted_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    StateDirectory(tmp_path).ensure()
    assert mode_of(tmp_path) == 0o755


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_directory_others_can_write_to_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "my state"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(IroshError) as caught:
        StateDirectory(path).ensure()
    assert caught.value.code == ErrorCode.STATE_UNUSABLE
    assert f"{mode:04o}" in caught.value.message
    subprocess.run(shlex.split(caught.value.hint), check=True)
    StateDirectory(path).ensure()


def unusable(path: Path) -> IroshError:
    with pytest.raises(IroshError) as caught:
        StateDirectory(path).ensure()
    assert caught.value.code == ErrorCode.STATE_UNUSABLE
    assert str(path) in caught.value.message
    return caught.value


def test_a_file_in_its_place_or_in_the_way_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "not a directory" in unusable(file).message
    error = unusable(file / "below")
    assert "not a directory" in error.message
    assert "--state" in error.hint
    (tmp_path / "dangling").symlink_to("nowhere")
    assert "no such file" in unusable(tmp_path / "dangling").message
    assert "too long" in unusable(tmp_path / ("x" * 300)).message


def test_a_directory_one_cannot_write_to_is_reported(unprivileged: Path) -> None:
    state = unprivileged / "state"
    state.mkdir(mode=0o500)
    error = unusable(state)
    assert "cannot write" in error.message
    assert "--state" in error.hint
    assert "permission denied" in unusable(state / "below").message
    with pytest.raises(IroshError, match="permission denied") as caught:
        write_private_file(state / "file", b"")
    assert caught.value.code == ErrorCode.STATE_UNUSABLE


@needs_root
def test_another_users_directory_is_refused(unprivileged: Path) -> None:
    os.seteuid(0)
    unprivileged.chmod(0o755)
    os.chown(unprivileged, NOBODY - 1, NOBODY - 1)
    os.seteuid(NOBODY)
    assert "another user" in unusable(unprivileged).message


def test_a_read_only_file_system_is_reported(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from irosh.core.errors import IroshError
from irosh.core.state import StateDirectory
for path in (Path(sys.argv[1]), Path(sys.argv[1], "below")):
    try:
        StateDirectory(path).ensure()
    except IroshError as error:
        print(error.code, error.message)
"""
    result = in_small_tmpfs(tmp_path, "ro,mode=700", code)
    lines = result.stdout.splitlines()
    assert len(lines) == 2, result.stderr
    for line in lines:
        assert line.startswith("state-unusable")
        assert "read-only file system" in line


def test_no_room_for_the_directory_is_a_full_disk(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from irosh.core.errors import IroshError
from irosh.core.state import StateDirectory
try:
    StateDirectory(Path(sys.argv[1], "a", "b", "c", "d")).ensure()
except IroshError as error:
    print(error.code)
"""
    result = in_small_tmpfs(tmp_path, "nr_inodes=3,mode=700", code)
    assert result.stdout == "disk-full\n", result.stderr
