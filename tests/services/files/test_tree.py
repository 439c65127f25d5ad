"""Operations on a peer's trees: what they do, and what they refuse."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from irosh.services.files.open_file import Change
from irosh.services.files.tree import Tree
from irosh.services.files.view import confined, everything

SECRET = b"not for the peer"
WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A directory with a file and a directory in it; beside it something that nobody may reach."""
    inside = tmp_path / "share"
    (inside / "sub").mkdir(parents=True)
    (inside / "file").write_bytes(b"content")
    (tmp_path / "secret").write_bytes(SECRET)
    return inside


@pytest.fixture
def tree(share: Path) -> Iterator[Tree]:
    made = Tree(confined([(str(share), False)]))
    yield made
    made.close()


@pytest.fixture
def read_only(share: Path) -> Iterator[Tree]:
    made = Tree(confined([(str(share), True)]))
    yield made
    made.close()


def contents(tree: Tree, path: bytes) -> bytes:
    file = tree.open(path, os.O_RDONLY)
    try:
        return file.read(0, 1000)
    finally:
        file.close()


def write(tree: Tree, path: bytes, data: bytes, flags: int = WRITE_NEW) -> None:
    file = tree.open(path, flags)
    try:
        file.write(0, data)
    finally:
        file.close()


def listed(tree: Tree, path: bytes) -> set[bytes]:
    listing = tree.list(path)
    try:
        return {name for name, _ in listing}
    finally:
        listing.close()


def refused(number: int, call: Callable[[], object]) -> None:
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno == number, caught.value


def test_the_tree_is_the_root(tree: Tree) -> None:
    assert listed(tree, b"/") == listed(tree, b".") == listed(tree, b"/..") == {b"file", b"sub"}
    assert contents(tree, b"/file") == contents(tree, b"sub/../../../file") == b"content"
    assert tree.real_path(b".") == b"/"
    assert tree.real_path(b"sub/../new") == b"/new"
    assert stat.S_ISDIR(tree.stat(b"/").st_mode)


@pytest.mark.parametrize("path", [b"../secret", b"/../secret", b"sub/../../secret", b"../../../../etc/shadow"])
def test_dots_do_not_lead_out(tree: Tree, path: bytes) -> None:
    refused(errno.ENOENT, lambda: tree.open(path, os.O_RDONLY))
    refused(errno.ENOENT, lambda: tree.stat(path))


@pytest.mark.parametrize("target", ["../secret", "{outside}/secret", "sub/../../secret", "../share/../secret"])
def test_links_do_not_lead_out(tree: Tree, share: Path, target: str) -> None:
    (share / "link").symlink_to(target.format(outside=share.parent))
    refused(errno.ENOENT, lambda: tree.open(b"link", os.O_RDONLY))
    refused(errno.ENOENT, lambda: tree.stat(b"link"))
    refused(errno.ENOENT, lambda: tree.set(b"link", Change(mode=0o777)))
    assert stat.S_ISLNK(tree.stat(b"link", follow=False).st_mode)
    assert (share.parent / "secret").read_bytes() == SECRET


def test_links_to_directories_do_not_lead_out(tree: Tree, share: Path) -> None:
    (share / "up").symlink_to("..")
    assert listed(tree, b"up") == {b"file", b"sub", b"up"}
    (share / "out").symlink_to(share.parent)
    refused(errno.ENOENT, lambda: tree.list(b"out"))
    refused(errno.ENOENT, lambda: tree.make_directory(b"out/made"))


def test_writing_through_a_dangling_link_stays_inside(tree: Tree, share: Path) -> None:
    (share / "link").symlink_to("/made")
    write(tree, b"link", b"inside")
    assert (share / "made").read_bytes() == b"inside"


def test_links_inside_are_followed(tree: Tree, share: Path) -> None:
    (share / "sub" / "link").symlink_to("../file")
    (share / "absolute").symlink_to("/sub/link")
    assert contents(tree, b"absolute") == b"content"
    assert tree.real_path(b"absolute") == b"/file"
    assert tree.read_link(b"absolute") == b"/sub/link"


def test_a_loop_of_links_ends(tree: Tree, share: Path) -> None:
    (share / "one").symlink_to("two")
    (share / "two").symlink_to("one")
    refused(errno.ELOOP, lambda: tree.open(b"one", os.O_RDONLY))
    refused(errno.ELOOP, lambda: tree.open(b"one/x", os.O_RDONLY))


def test_daily_work(tree: Tree, share: Path) -> None:
    tree.make_directory(b"new")
    write(tree, b"new/file", b"12345")
    tree.rename(b"new/file", b"file")
    assert contents(tree, b"file") == b"12345"
    tree.link(b"file", b"new/second")
    tree.symlink(b"/file", b"new/third")
    assert os.readlink(share / "new/third") == "../file"
    assert contents(tree, b"new/third") == b"12345"
    tree.set(b"file", Change(size=2, mode=0o640, times=(1_000_000_000, 2_000_000_000)))
    found = (share / "file").stat()
    assert (found.st_size, stat.S_IMODE(found.st_mode), found.st_atime, found.st_mtime) == (2, 0o640, 1, 2)
    tree.remove(b"new/second")
    tree.remove(b"new/third")
    tree.remove_directory(b"new/")
    assert listed(tree, b"/") == {b"file", b"sub"}
    assert tree.space(b"/file").f_bsize > 0


def test_a_new_name_does_not_replace_another(tree: Tree, share: Path) -> None:
    (share / "other").write_bytes(b"kept")
    refused(errno.EEXIST, lambda: tree.rename_new(b"file", b"other"))
    refused(errno.EEXIST, lambda: tree.rename_new(b"sub", b"other"))
    tree.rename_new(b"file", b"moved")
    tree.rename_new(b"sub", b"moved-too")
    assert listed(tree, b"/") == {b"moved", b"moved-too", b"other"}
    assert (share / "other").read_bytes() == b"kept"


CHANGES: list[tuple[str, Callable[[Tree], object]]] = [
    ("write", lambda tree: tree.open(b"file", os.O_WRONLY)),
    ("read and write", lambda tree: tree.open(b"file", os.O_RDWR)),
    ("truncate", lambda tree: tree.open(b"file", os.O_RDONLY | os.O_TRUNC)),
    ("create", lambda tree: tree.open(b"new", os.O_RDONLY | os.O_CREAT)),
    ("append", lambda tree: tree.open(b"file", os.O_WRONLY | os.O_APPEND)),
    ("chmod", lambda tree: tree.set(b"file", Change(mode=0o777))),
    ("chown", lambda tree: tree.set(b"file", Change(owner=(1, 1)))),
    ("utime", lambda tree: tree.set(b"file", Change(times=(0, 0)))),
    ("truncate by name", lambda tree: tree.set(b"file", Change(size=0))),
    ("mkdir", lambda tree: tree.make_directory(b"new")),
    ("rmdir", lambda tree: tree.remove_directory(b"sub")),
    ("remove", lambda tree: tree.remove(b"file")),
    ("rename", lambda tree: tree.rename(b"file", b"new")),
    ("rename to a new name", lambda tree: tree.rename_new(b"file", b"new")),
    ("link", lambda tree: tree.link(b"file", b"new")),
    ("symlink", lambda tree: tree.symlink(b"file", b"new")),
]


def _picture(root: Path) -> list[tuple[str, os.stat_result]]:
    return [(str(path), path.lstat()) for path in sorted(root.rglob("*"))]


@pytest.mark.parametrize("change", [change for _, change in CHANGES], ids=[name for name, _ in CHANGES])
def test_nothing_changes_a_read_only_tree(read_only: Tree, share: Path, change: Callable[[Tree], object]) -> None:
    before = [(name, found.st_mode, found.st_size, found.st_mtime_ns, found.st_uid) for name, found in _picture(share)]
    refused(errno.EROFS, lambda: change(read_only))
    after = [(name, found.st_mode, found.st_size, found.st_mtime_ns, found.st_uid) for name, found in _picture(share)]
    assert after == before


def test_an_open_file_of_a_read_only_tree_cannot_be_changed(read_only: Tree) -> None:
    file = read_only.open(b"file", os.O_RDONLY)
    try:
        for change in (Change(mode=0o777), Change(times=(0, 0)), Change(owner=(1, 1)), Change(size=0)):
            refused(errno.EROFS, lambda change=change: file.set(change))  # type: ignore[misc]
        refused(errno.EBADF, lambda: file.write(0, b"x"))
    finally:
        file.close()


def test_several_trees(share: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "file").write_bytes(b"read me")
    (share / "link").symlink_to(other / "file")
    tree = Tree(confined([(str(share), False), (str(other), True)]))
    top = os.fsencode(tmp_path)
    assert listed(tree, b"/") == {top.split(b"/")[1]}
    assert listed(tree, top) == {b"share", b"other"}
    assert contents(tree, top + b"/other/file") == b"read me"
    assert contents(tree, top + b"/share/../other/file") == b"read me"
    assert contents(tree, top + b"/share/link") == b"read me"  # it leads from one tree to the other
    assert stat.S_ISDIR(tree.stat(top).st_mode)
    refused(errno.ENOENT, lambda: tree.stat(top + b"/secret"))
    refused(errno.ENOENT, lambda: tree.stat(b"/etc"))
    refused(errno.EROFS, lambda: write(tree, top + b"/other/file", b""))
    refused(errno.EROFS, lambda: tree.link(top + b"/other/file", top + b"/share/writable"))
    refused(errno.ENOENT, lambda: tree.make_directory(top + b"/new"))
    refused(errno.EBUSY, lambda: tree.rename(top + b"/share", top + b"/share/x"))
    refused(errno.EBUSY, lambda: tree.remove_directory(top + b"/share"))
    assert tree.space(b"/").f_bsize > 0
    write(tree, top + b"/share/new", b"written")
    assert (share / "new").read_bytes() == b"written"
    tree.close()


def test_a_writable_tree_within_a_read_only_one(share: Path) -> None:
    tree = Tree(confined([(str(share), True), (str(share / "sub"), False)]))
    top = os.fsencode(share)
    (share / "link").symlink_to("sub")
    write(tree, top + b"/link/new", b"1")
    refused(errno.EROFS, lambda: write(tree, top + b"/new", b"1"))
    refused(errno.EBUSY, lambda: tree.rename(top + b"/sub", top + b"/sub/x"))
    tree.close()


def test_a_program_cannot_be_made_to_run_as_the_account(tree: Tree, share: Path) -> None:
    tree.set(b"file", Change(mode=0o6777))
    assert stat.S_IMODE((share / "file").stat().st_mode) == 0o777
    file = tree.open(b"file", os.O_RDWR)
    file.set(Change(mode=0o4755))
    file.close()
    assert stat.S_IMODE((share / "file").stat().st_mode) == 0o755


def test_fifos_hold_nobody_up(tree: Tree, share: Path) -> None:
    os.mkfifo(share / "fifo")
    refused(errno.EACCES, lambda: tree.open(b"fifo", os.O_RDONLY))
    refused(errno.EACCES, lambda: tree.open(b"fifo", os.O_WRONLY))
    free = Tree(everything(str(share)))
    free.open(b"fifo", os.O_RDONLY).close()
    refused(errno.ENXIO, lambda: free.open(b"fifo", os.O_WRONLY))
    free.close()


def test_directories_are_not_files(tree: Tree) -> None:
    refused(errno.EISDIR, lambda: tree.open(b"sub", os.O_RDONLY))
    refused(errno.EISDIR, lambda: tree.open(b"/", os.O_RDONLY))
    refused(errno.ENOTDIR, lambda: tree.list(b"file"))
    refused(errno.ENOTDIR, lambda: tree.stat(b"file/x"))


@pytest.mark.parametrize(
    ("path", "number"),
    [(b"a\0b", errno.EINVAL), (b"x" * 300, errno.ENAMETOOLONG), (b"a/" * 5000, errno.ENAMETOOLONG)],
)
def test_impossible_names(tree: Tree, path: bytes, number: int) -> None:
    refused(number, lambda: tree.open(path, os.O_RDONLY))
    refused(number, lambda: tree.make_directory(path))


def test_any_bytes_are_a_name(tree: Tree, share: Path) -> None:
    name = bytes(set(range(1, 256)) - {ord("/")})
    write(tree, name[:200], b"odd")
    assert name[:200] in listed(tree, b"/")
    assert contents(tree, name[:200]) == b"odd"


def test_everything_is_the_system_itself(share: Path) -> None:
    tree = Tree(everything(str(share)))
    assert contents(tree, b"file") == contents(tree, os.fsencode(share / "file")) == b"content"
    assert tree.real_path(b".") == os.fsencode(share.resolve())
    (share / "out").symlink_to("../secret")
    assert contents(tree, b"out") == SECRET
    tree.symlink(b"/etc/passwd", b"absolute")
    assert os.readlink(share / "absolute") == "/etc/passwd"
    tree.close()


def test_nothing_stays_open(tree: Tree, share: Path) -> None:
    deep = share.joinpath(*["d"] * 20)
    deep.mkdir(parents=True)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        tree.stat(b"d/" * 20)
        tree.real_path(b"d/d/../d/../..")
        refused(errno.ENOENT, lambda: tree.open(b"d/d/x/y", os.O_RDONLY))
        listed(tree, b"d/d")
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the root, kept
