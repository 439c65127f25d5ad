"""The state directory, the lock, the control socket's path, and files written so that nothing gets lost."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from irosh.core import state as state_module
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.node_lock import NodeLock, holder
from irosh.core.private_file import create_private_file, write_private_file
from irosh.core.state import StateDirectory, control_socket_path, default_state_directory

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount or to change owners")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of an unprivileged user's, entered as that user if the tests run as root."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        if root:
            os.chown(name, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


@pytest.fixture
def short_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /tmp as the place of short socket paths."""
    base = tmp_path / "tmp"
    base.mkdir()
    monkeypatch.setattr(state_module, "_SHORT_SOCKET_BASE", base)
    return base


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


def in_small_tmpfs(tmp_path: Path, options: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python ``code`` with a tmpfs mounted on sys.argv[1], in a mount namespace of its own."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        pytest.skip("needs root and unshare(1) to mount a file system")
    place = tmp_path / "mount"
    place.mkdir()
    script = 'mount -t tmpfs -o "$1" tmpfs "$2" || exit 99; exec "$3" -c "$4" "$2"'
    command = [unshare, "-m", "sh", "-c", script, "sh", options, str(place), sys.executable, code]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 99 or "unshare" in result.stderr:
        pytest.skip("mounting is not allowed here")
    return result


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


# --- private files


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


# --- the lock


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


# --- the control socket


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
