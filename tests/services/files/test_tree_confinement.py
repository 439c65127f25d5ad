"""Nothing leads out of a tree: compared with the kernel's own confinement, and under others who change it meanwhile."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irosh.services.files.open_file import Change
from irosh.services.files.tree import Tree
from irosh.services.files.view import confined

_OPENAT2 = 437
_IN_ROOT = 0x10

names = st.sampled_from(["a", "b", "c", "..", ".", ""])
relative = st.lists(names, max_size=6).map("/".join)
paths = st.one_of(relative, relative.map("/{}".format))
directories = st.lists(st.sampled_from(["a", "b", "c", "a/b", "b/a", "a/b/c"]), max_size=3)
links = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "a/a", "a/b", "b/c", "a/b/b"]),
        st.one_of(paths, st.sampled_from(["../secret", "/../secret", "/", "../../../../etc"])),
    ),
    max_size=5,
)
files = st.lists(st.sampled_from(["a", "b", "c", "a/a", "a/c", "a/b/a", "b/b"]), max_size=4)


def _kernel(root: int, path: str) -> int | None:
    """Device and inode by openat2(2) with RESOLVE_IN_ROOT; minus the error number; None without that call."""
    how = (ctypes.c_uint64 * 3)(os.O_PATH | os.O_CLOEXEC, 0, _IN_ROOT)
    libc = ctypes.CDLL(None, use_errno=True)
    # EAGAIN: something was renamed or mounted somewhere meanwhile, and a `..` could not be vouched for (openat2(2)).
    while (descriptor := libc.syscall(_OPENAT2, root, os.fsencode(path), ctypes.byref(how), 24)) < 0:
        number = ctypes.get_errno()
        if number != errno.EAGAIN:
            return None if number == errno.ENOSYS else -number
    try:
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def _ours(tree: Tree, path: str) -> int:
    try:
        return tree.stat(os.fsencode(path)).st_ino
    except OSError as error:
        assert error.errno is not None
        return -error.errno


def _plant(root: Path, made_directories: list[str], made_links: list[tuple[str, str]], made_files: list[str]) -> None:
    for name in made_directories:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in made_files:
        target = root / name
        if target.parent.is_dir() and not target.exists():
            target.touch()
    for name, says in made_links:
        link = root / name
        if says and link.parent.is_dir() and not os.path.lexists(link) and link.parent.resolve() == link.parent:
            link.symlink_to(says)


@settings(max_examples=400, deadline=None)
@given(directories, links, files, st.lists(paths, min_size=1, max_size=12))
def test_every_path_is_what_the_kernel_says(
    made_directories: list[str], made_links: list[tuple[str, str]], made_files: list[str], asked: list[str]
) -> None:
    with TemporaryDirectory() as directory:
        top = Path(directory).resolve()
        root = top / "root"
        root.mkdir()
        (top / "secret").mkdir()
        _plant(root, made_directories, made_links, made_files)
        tree = Tree(confined([(str(root), False)]))
        descriptor = os.open(root, os.O_PATH)
        try:
            for path in asked:
                theirs = _kernel(descriptor, path or ".")
                if theirs is None:
                    pytest.skip("the kernel has no openat2")
                assert _ours(tree, path) == theirs, path
        finally:
            os.close(descriptor)
            tree.close()


_SWAPPER = """
import os, sys
inside, outside = sys.argv[1:]
os.chdir(inside)
os.symlink(outside, "link")
print(flush=True)
while True:
    # `moving` is a directory of the tree in one moment and a link that leads out in the next.
    os.rename("moving", "parked"); os.rename("link", "moving")
    os.rename("moving", "link"); os.rename("parked", "moving")
"""


@pytest.mark.timeout(120)
def test_a_directory_that_turns_into_a_link_lets_nobody_out(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    (inside / "moving").mkdir(parents=True)
    outside.mkdir()
    (inside / "moving" / "file").write_bytes(b"inside")
    (inside / "other").mkdir()
    (outside / "file").write_bytes(b"SECRET")
    before = (outside / "file").stat()
    tree = Tree(confined([(str(inside), False)]))
    arguments = [sys.executable, "-c", _SWAPPER, str(inside), str(outside)]
    reached = 0
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as swapper:
        try:
            assert swapper.stdout is not None
            swapper.stdout.readline()
            deadline = time.monotonic() + 8.0
            while time.monotonic() < deadline:
                for path in (b"moving/file", b"other/../moving/./file", b"moving/../moving/file"):
                    reached += _attack(tree, path)
        finally:
            swapper.kill()
    tree.close()
    assert reached > 50, "the directory was hardly ever met"
    assert sorted(os.listdir(outside)) == ["file"]
    after = (outside / "file").stat()
    assert (outside / "file").read_bytes() == b"SECRET"
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (before.st_mode, before.st_mtime_ns, before.st_ino)


def _attack(tree: Tree, path: bytes) -> int:
    """All that a peer could do to it; returns whether the file was met."""
    steps: tuple[Callable[[], object], ...] = (
        lambda: tree.make_directory(b"moving/made"),
        lambda: tree.remove_directory(b"moving/made"),
        lambda: tree.rename(path, b"moving/renamed"),
        lambda: tree.rename(b"moving/renamed", path),
        lambda: tree.set(path, Change(mode=0o600, times=(0, 0))),
        lambda: tree.list(b"moving").close(),
    )
    for step in steps:
        try:
            step()
        except OSError:
            continue
    try:
        file = tree.open(path, os.O_RDWR)
    except OSError:
        return 0
    try:
        assert file.read(0, 100) == b"inside"
        file.write(0, b"inside")
        return 1
    finally:
        file.close()
