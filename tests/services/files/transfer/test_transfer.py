"""Transfers from one folder to another, through both ends: what arrives, where, with what times and permissions."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.services.files.transfer.partial import partial_name
from tests.services.files.transfer.ends import Watched, order, transfer
from tests.services.files.transfer.trees import MEBIBYTE, hidden, tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Files of all sizes, in folders."""
    root = tmp_path / "source"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "nothing").touch()
    (root / "small").write_bytes(b"a small file\n")
    (root / "exactly").write_bytes(os.urandom(64 * 1024))
    (root / "deep" / "large").write_bytes(os.urandom(3 * MEBIBYTE + 17))
    (root / "deep" / "deeper" / "run").write_text("#!/bin/sh\n")
    (root / "deep" / "deeper" / "run").chmod(0o750)
    (root / "deep" / "line\nbreak \x1b[31m").write_text("x")
    (root / "deep" / "read-only").write_text("y")
    (root / "deep" / "read-only").chmod(0o444)
    (root / "deep" / "deeper").chmod(0o555)
    os.utime(root / "small", ns=(1, 123_456_789_012_345_678))
    os.utime(root / "empty", ns=(1, 1_000_000_001))
    return root


def test_a_tree_arrives_as_it_is(source: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    sending, receiving = Watched(), Watched()
    result = transfer(order(source), tmp_path / "there", sending=sending, receiving=receiving)
    assert tree(tmp_path / "there" / "source") == tree(source)
    sizes = [path.stat().st_size for path in source.rglob("*") if path.is_file()]
    assert (result.files, result.size, result.failed) == (len(sizes), sum(sizes), 0)
    for watched in (sending, receiving):
        assert watched.total == (len(sizes), sum(sizes), True)
        assert (watched.files, watched.size, watched.problems) == (len(sizes), sum(sizes), [])
    assert not hidden(tmp_path)


@pytest.mark.parametrize("sync", [False, True])
def test_again_over_what_is_there(source: Path, tmp_path: Path, sync: bool) -> None:
    there = tmp_path / "there"
    transfer(order(source, sync=sync), there)
    (source / "small").write_bytes(b"another\n")
    (source / "deep" / "large").write_bytes(b"no longer large")
    transfer(order(source, sync=sync), tmp_path / "there" / "..")
    assert tree(there) != tree(source)  # it went into tmp_path, where the source itself is
    transfer(order(f"{source}/.", sync=sync), there)
    assert tree(there) == tree(source)
    assert not hidden(tmp_path)


def test_without_permissions_and_times(source: Path, tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        transfer(order(source, preserve=False), tmp_path / "there")
    finally:
        os.umask(previous)
    modes = {name: mode for name, (_, mode, _, _) in tree(tmp_path / "there").items()}
    assert (modes["small"], modes["deep/deeper/run"], modes["deep/read-only"], modes["empty"]) == (
        0o640,
        0o750,
        0o640,
        0o750,
    )
    assert (tmp_path / "there" / "small").stat().st_mtime_ns != 123_456_789_012_345_678


def test_what_lets_a_file_run_as_another_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("x")
    (tmp_path / "tool").chmod(0o6755)
    transfer(order(tmp_path / "tool"), tmp_path / "copy")
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o755


def test_a_folder_keeps_the_group_of_what_is_made_in_it(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir(mode=0o700)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o2775)
    transfer(order(tmp_path / "source"), tmp_path / "shared")
    assert stat.S_IMODE((tmp_path / "shared" / "source").stat().st_mode) == 0o2700


class TestDestinations:
    """As with scp(1)."""

    def test_an_existing_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("a")
        (tmp_path / "b").write_text("b")
        (tmp_path / "there").mkdir()
        transfer(order(tmp_path / "a", tmp_path / "b"), f"{tmp_path}/there/")
        assert {path.name for path in (tmp_path / "there").iterdir()} == {"a", "b"}

    def test_a_new_name(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("a")
        transfer(order(tmp_path / "a"), tmp_path / "c")
        assert (tmp_path / "c").read_text() == "a"

    def test_a_file_behind_a_link_is_replaced_not_the_link(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("new")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "file").write_text("old")
        (tmp_path / "link").symlink_to("elsewhere/file")
        transfer(order(tmp_path / "a"), tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "elsewhere" / "file").read_text() == "new"

    @pytest.mark.parametrize(
        ("sources", "destination", "message"),
        [
            (("a", "b"), "missing", "several things cannot have one name"),
            (("a", "b"), "a", "is not a folder"),
            (("a",), "missing/", "there is no folder"),
            (("a",), "missing/name", "No such file or directory"),
            (("folder",), "a", "cannot become a folder"),
            (("nowhere",), "x", "No such file or directory"),
            (("a",), "a/x", "Not a directory"),
        ],
    )
    def test_that_cannot_be(self, tmp_path: Path, sources: tuple[str, ...], destination: str, message: str) -> None:
        for name in ("a", "b"):
            (tmp_path / name).write_text(name)
        (tmp_path / "folder").mkdir()
        with pytest.raises(IroshError, match=message) as failure:
            transfer(order(*(tmp_path / name for name in sources)), f"{tmp_path}/{destination}")
        assert failure.value.code is ErrorCode.FILE
        assert (tmp_path / "a").read_text() == "a"

    def test_a_folder_needs_to_be_asked_for(self, tmp_path: Path) -> None:
        with pytest.raises(IroshError, match="is a folder"):
            transfer(order(tmp_path, recursive=False), tmp_path / "there")

    def test_what_is_no_file_is_not_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("a")
        os.mkfifo(tmp_path / "pipe")
        watched = Watched()
        assert transfer(order(tmp_path / "a"), tmp_path / "pipe", receiving=watched).failed == 1
        assert watched.problems == [("a", "File exists")]
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)

    def test_a_folder_in_a_files_place(self, tmp_path: Path) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "name").write_text("a file")
        (tmp_path / "source" / "other").write_text("another")
        (tmp_path / "there" / "name").mkdir(parents=True)
        watched = Watched()
        result = transfer(order(f"{tmp_path}/source/."), tmp_path / "there", receiving=watched)
        assert watched.problems == [("name", "Is a directory")]
        assert (result.files, result.failed) == (1, 1)


class TestSources:
    def test_patterns(self, tmp_path: Path) -> None:
        for name in ("a.txt", "b.txt", ".c.txt", "d.dat"):
            (tmp_path / name).write_text(name)
        (tmp_path / "there").mkdir()
        transfer(order(f"{tmp_path}/*.t?t"), tmp_path / "there", patterns=True)
        assert {path.name for path in (tmp_path / "there").iterdir()} == {"a.txt", "b.txt"}

    def test_links_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "file").write_text("x")
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "folder").symlink_to("../elsewhere")
        (tmp_path / "source" / "file").symlink_to("folder/file")
        transfer(order(tmp_path / "source"), tmp_path / "there")
        assert {name: kind for name, (kind, *_) in tree(tmp_path / "there").items()} == {
            "folder": "folder",
            "folder/file": "file",
            "file": "file",
        }

    def test_or_kept(self, tmp_path: Path) -> None:
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "link").symlink_to("/nowhere")
        os.utime(tmp_path / "source" / "link", ns=(1, 2_000_000_003), follow_symlinks=False)
        for _ in range(2):
            transfer(order(f"{tmp_path}/source/.", links=True), tmp_path / "there")
        assert tree(tmp_path / "there") == tree(tmp_path / "source")

    def test_a_link_that_leads_nowhere_or_round_is_a_problem(self, tmp_path: Path) -> None:
        (tmp_path / "source" / "in").mkdir(parents=True)
        (tmp_path / "source" / "nowhere").symlink_to("missing")
        (tmp_path / "source" / "self").symlink_to("self")
        (tmp_path / "source" / "in" / "round").symlink_to("..")
        watched = Watched()
        transfer(order(tmp_path / "source"), tmp_path / "there", sending=watched)
        assert sorted(watched.problems) == [
            ("source/in/round", "a link to a folder that contains it"),
            ("source/nowhere", "No such file or directory"),
            ("source/self", "a symbolic link that leads nowhere"),
        ]

    def test_special_files_are_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "source").mkdir()
        os.mkfifo(tmp_path / "source" / "pipe")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "source" / "s"))
        watched, receiving = Watched(), Watched()
        transfer(order(tmp_path / "source"), tmp_path / "there", sending=watched, receiving=receiving)
        assert sorted(watched.skipped) == sorted(receiving.skipped)
        assert sorted(name for name, _ in watched.skipped) == ["source/pipe", "source/s"]
        assert not watched.problems

    def test_a_special_file_that_was_named_is_a_problem(self, tmp_path: Path) -> None:
        watched = Watched()
        transfer(order("/dev/null"), tmp_path / "copy", sending=watched)
        assert watched.problems == [("null", "a device, which cannot be sent")]
        assert not (tmp_path / "copy").exists()

    @pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self/status").exists(), reason="needs /proc")
    def test_files_whose_size_nobody_knows(self, tmp_path: Path) -> None:
        transfer(order("/proc/self/status"), tmp_path / "status")
        assert b"Name:" in (tmp_path / "status").read_bytes()

    def test_holes_stay_holes(self, tmp_path: Path) -> None:
        size = 40 * MEBIBYTE
        with (tmp_path / "disk").open("wb") as file:
            file.truncate(size)
            file.seek(20 * MEBIBYTE)
            file.write(os.urandom(4096))
            file.seek(10 * MEBIBYTE)
            file.write(b"x" * 5000)
        transfer(order(tmp_path / "disk"), tmp_path / "copy")
        assert blake3((tmp_path / "copy").read_bytes()).digest() == blake3((tmp_path / "disk").read_bytes()).digest()
        assert (tmp_path / "copy").stat().st_blocks * 512 < 4 * MEBIBYTE

    def test_a_file_that_grows_while_it_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_bytes(bytes(8 * MEBIBYTE))
        watched = Watched()
        written = False

        def grow(size: int) -> None:
            nonlocal written
            if not written and size:
                written = True
                with (tmp_path / "log").open("ab") as file:
                    file.write(b"more")

        watched.on_moved = grow
        transfer(order(tmp_path / "log"), tmp_path / "copy", sending=watched)
        assert watched.problems == [("log", "changed while it was read: what has arrived is of two minds")]
        assert (tmp_path / "copy").stat().st_size == 8 * MEBIBYTE

    def test_a_file_that_shrinks_while_it_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_bytes(bytes(8 * MEBIBYTE))
        watched = Watched()

        def shrink(size: int) -> None:
            if size:
                os.truncate(tmp_path / "log", 3 * MEBIBYTE)

        watched.on_moved = shrink
        transfer(order(tmp_path / "log"), tmp_path / "copy", sending=watched)
        assert watched.problems == [("log", "became shorter while it was read")]
        assert not (tmp_path / "copy").exists()
        assert not hidden(tmp_path)


class TestResume:
    """``partial`` files are made as an interrupted transfer leaves them."""

    def test_goes_on_where_it_ended(self, tmp_path: Path) -> None:
        content = os.urandom(5 * MEBIBYTE)
        (tmp_path / "large").write_bytes(content)
        self.leave(tmp_path, content[: 2 * MEBIBYTE + 5])
        watched = Watched()
        sent: list[int] = []
        watched.on_moved = sent.append
        result = transfer(order(tmp_path / "large", resume=True), tmp_path / "copy", sending=watched)
        assert (tmp_path / "copy").read_bytes() == content
        assert (result.files, sent[0]) == (1, 2 * MEBIBYTE + 5)
        assert not hidden(tmp_path)

    def test_another_beginning_is_not_gone_on_with(self, tmp_path: Path) -> None:
        content = os.urandom(3 * MEBIBYTE)
        (tmp_path / "large").write_bytes(content)
        self.leave(tmp_path, os.urandom(MEBIBYTE))
        transfer(order(tmp_path / "large", resume=True), tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == content

    def test_another_version_is_not_gone_on_with_but_removed(self, tmp_path: Path) -> None:
        content = os.urandom(3 * MEBIBYTE)
        (tmp_path / "large").write_bytes(content)
        self.leave(tmp_path, content[:MEBIBYTE])
        os.utime(tmp_path / "large", ns=(1, 1))
        sent: list[int] = []
        watched = Watched()
        watched.on_moved = sent.append
        transfer(order(tmp_path / "large", resume=True), tmp_path / "copy", sending=watched)
        assert sent[0] == 0
        assert (tmp_path / "copy").read_bytes() == content
        assert not hidden(tmp_path)

    def test_more_than_there_can_be(self, tmp_path: Path) -> None:
        content = os.urandom(MEBIBYTE)
        (tmp_path / "large").write_bytes(content)
        self.leave(tmp_path, content + b"and more")
        transfer(order(tmp_path / "large", resume=True), tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == content

    def test_without_resume_nothing_is_gone_on_with(self, tmp_path: Path) -> None:
        content = os.urandom(MEBIBYTE)
        (tmp_path / "large").write_bytes(content)
        self.leave(tmp_path, content[:500_000])
        watched = Watched()
        sent: list[int] = []
        watched.on_moved = sent.append
        transfer(order(tmp_path / "large"), tmp_path / "copy", sending=watched)
        assert sent[0] == 0
        assert (tmp_path / "copy").read_bytes() == content

    def test_a_partial_file_that_somebody_else_writes_is_left_alone(self, tmp_path: Path) -> None:
        content = os.urandom(MEBIBYTE)
        (tmp_path / "large").write_bytes(content)
        left = self.leave(tmp_path, content[:500_000])
        import fcntl

        with left.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            transfer(order(tmp_path / "large", resume=True), tmp_path / "copy")
            assert (tmp_path / "copy").read_bytes() == content
            assert hidden(tmp_path) == [left]
            assert left.stat().st_size == 500_000

    def test_a_partial_file_with_a_second_name_is_left_alone(self, tmp_path: Path) -> None:
        content = os.urandom(MEBIBYTE)
        (tmp_path / "large").write_bytes(content)
        left = self.leave(tmp_path, content[:500_000])
        os.link(left, tmp_path / "trap")
        transfer(order(tmp_path / "large", resume=True), tmp_path / "copy")
        assert (tmp_path / "trap").read_bytes() == content[:500_000]
        assert (tmp_path / "copy").read_bytes() == content
        assert not (tmp_path / "copy").samefile(tmp_path / "trap")

    def test_what_has_arrived_is_not_sent_again(self, source: Path, tmp_path: Path) -> None:
        transfer(order(source), tmp_path / "there")
        (tmp_path / "there" / "small").unlink()
        (tmp_path / "there" / "exactly").write_bytes(b"changed")
        sending = Watched()
        result = transfer(order(f"{source}/.", resume=True), tmp_path / "there", sending=sending)
        assert tree(tmp_path / "there") == tree(source)
        files = [path for path in source.rglob("*") if path.is_file()]
        assert (result.files, result.unchanged) == (2, len(files) - 2)
        assert sending.files == len(files)
        assert sending.size == sum(path.stat().st_size for path in files)

    @pytest.mark.parametrize("size", [100, 200_000])
    def test_another_content_of_the_same_size_and_time_is_noticed(self, tmp_path: Path, size: int) -> None:
        (tmp_path / "file").write_bytes(content := os.urandom(size))
        (tmp_path / "copy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(tmp_path / "copy", ns=(1, (tmp_path / "file").stat().st_mtime_ns))
        result = transfer(order(tmp_path / "file", resume=True, quick=True), tmp_path / "copy")
        assert (result.files, result.unchanged) == (0, 1)
        result = transfer(order(tmp_path / "file", resume=True), tmp_path / "copy")
        assert (result.files, result.unchanged) == (1, 0)
        assert (tmp_path / "copy").read_bytes() == content

    @pytest.mark.parametrize("size", [100, 200_000])
    @pytest.mark.parametrize("preserve", [False, True])
    def test_the_same_content_of_another_time_is_not_sent_again(
        self, tmp_path: Path, size: int, preserve: bool
    ) -> None:
        (tmp_path / "file").write_bytes(os.urandom(size))
        (tmp_path / "file").chmod(0o640)
        (tmp_path / "copy").write_bytes((tmp_path / "file").read_bytes())
        os.utime(tmp_path / "copy", ns=(1, 2_000_000_003))
        (tmp_path / "copy").chmod(0o604)
        before = (tmp_path / "copy").stat()
        result = transfer(order(tmp_path / "file", resume=True, preserve=preserve), tmp_path / "copy")
        assert (result.files, result.unchanged) == (0, 1)
        now, wanted = (tmp_path / "copy").stat(), (tmp_path / "file").stat() if preserve else before
        assert (now.st_ino, now.st_mtime_ns, now.st_mode) == (before.st_ino, wanted.st_mtime_ns, wanted.st_mode)

    def test_a_part_of_another_version_with_the_size_of_what_is_there(self, tmp_path: Path) -> None:
        """What goes on is the part that arrived, not the old file."""
        content = os.urandom(3 * MEBIBYTE)
        (tmp_path / "large").write_bytes(content)
        (tmp_path / "copy").write_bytes(bytes(len(content)))
        self.leave(tmp_path, content[:MEBIBYTE])
        sent: list[int] = []
        watched = Watched()
        watched.on_moved = sent.append
        transfer(order(tmp_path / "large", resume=True), tmp_path / "copy", sending=watched)
        assert sent[0] == MEBIBYTE
        assert (tmp_path / "copy").read_bytes() == content

    def leave(self, folder: Path, content: bytes) -> Path:
        status = (folder / "large").stat()
        left = folder / os.fsdecode(partial_name(b"copy", status.st_size, status.st_mtime_ns))
        left.write_bytes(content)
        left.chmod(0o600)
        return left


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=30).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b"..")),
        st.integers(0, 200_000),
        max_size=8,
    ),
    st.booleans(),
)
def test_any_names_and_sizes(tmp_path_factory: pytest.TempPathFactory, files: dict[bytes, int], resume: bool) -> None:
    root = tmp_path_factory.mktemp("any")
    (root / "source").mkdir()
    for name, size in files.items():
        (root / "source" / os.fsdecode(name)).write_bytes(os.urandom(size))
    transfer(order(root / "source", resume=resume), root / "there")
    assert tree(root / "there") == tree(root / "source")
