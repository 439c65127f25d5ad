"""Where the control socket is: in the state directory, or by a short path where that is too long."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from pathlib import Path

import pytest

from irosh.core import state as state_module
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.state import StateDirectory, control_socket_path
from tests.support.system import NOBODY, mode_of, needs_root


@pytest.fixture
def short_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /tmp as the place of short socket paths."""
    base = tmp_path / "tmp"
    base.mkdir()
    monkeypatch.setattr(state_module, "_SHORT_SOCKET_BASE", base)
    return base


def deep(base: Path, length: int) -> Path:
    """A directory below ``base`` whose path has ``length`` characters, made."""
    path = base.resolve()
    while len(str(path)) < length:
        room = length - len(str(path)) - 1
        path /= "d" * (room if room <= 100 else 50)
    path.mkdir(parents=True, exist_ok=True)
    assert len(str(path)) == length
    return path


def bindable(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    path.unlink()
    return True


def test_the_socket_is_in_the_state_directory_as_long_as_it_fits(short_base: Path) -> None:
    # 103 characters fit on every platform; "/control.sock" is 13 of them.
    fits, too_long = deep(short_base, 90), deep(short_base, 91)
    assert control_socket_path(fits) == fits / "control.sock"
    assert bindable(control_socket_path(fits))
    short = control_socket_path(too_long)
    assert short.parent == short_base / f"irosh-{os.geteuid()}"
    assert mode_of(short.parent) == 0o700
    assert StateDirectory(too_long).control_socket_path == short


def test_a_long_path_has_one_short_path_of_its_own(short_base: Path, tmp_path: Path) -> None:
    one, other = deep(tmp_path / "one", 200), deep(tmp_path / "two", 200)
    link = tmp_path / "link"
    link.symlink_to(one)
    path = control_socket_path(one)
    assert control_socket_path(link) == path
    assert control_socket_path(one) == path
    assert control_socket_path(other) != path
    assert len(path.name) == len("0123456789abcdef.sock")


def test_the_short_path_can_be_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path("/tmp") == state_module._SHORT_SOCKET_BASE
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        monkeypatch.setattr(state_module, "_SHORT_SOCKET_BASE", Path(base))
        assert bindable(control_socket_path(deep(tmp_path, 200)))


@pytest.mark.parametrize("trick", ["open", "link", "file"])
def test_a_short_directory_that_is_not_ours_alone_is_refused(short_base: Path, tmp_path: Path, trick: str) -> None:
    directory = short_base / f"irosh-{os.geteuid()}"
    if trick == "open":
        directory.mkdir()
        directory.chmod(0o755)
    elif trick == "link":
        (tmp_path / "target").mkdir(mode=0o700)
        directory.symlink_to(tmp_path / "target")
    else:
        directory.touch(mode=0o600)
    with pytest.raises(IroshError) as caught:
        control_socket_path(deep(tmp_path, 200))
    assert caught.value.code == ErrorCode.STATE_UNUSABLE
    assert str(directory) in caught.value.message
    assert "--state" in caught.value.hint


@needs_root
def test_a_short_directory_of_another_user_is_refused(short_base: Path, tmp_path: Path) -> None:
    directory = short_base / f"irosh-{os.geteuid()}"
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, NOBODY)
    with pytest.raises(IroshError, match="not a private directory"):
        control_socket_path(deep(tmp_path, 200))


def test_no_place_for_the_short_path_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "_SHORT_SOCKET_BASE", tmp_path / "missing")
    with pytest.raises(IroshError) as caught:
        control_socket_path(deep(tmp_path, 200))
    assert caught.value.code == ErrorCode.STATE_UNUSABLE
    assert os.strerror(errno.ENOENT).lower() in caught.value.message
