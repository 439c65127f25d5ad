"""The far end of ``scp -O``: the real scp against it, and clients that are none."""

from __future__ import annotations

import errno
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.file_tree import FileTree
from irosh.services.files import scp_server
from irosh.services.files.scp_command import ScpCommand, parse_scp_command
from irosh.services.files.tree import Listing, Tree
from irosh.services.files.view import confined
from tests.lab.requirements import requires
from tests.support.sftp_client import worker


@pytest.fixture
def share(tmp_path: Path) -> Path:
    inside = tmp_path / "share"
    (inside / "sub" / "deeper").mkdir(parents=True)
    (inside / "file").write_bytes(b"content")
    (inside / "sub" / "deeper" / "script").write_bytes(b"#!/bin/sh\n")
    (inside / "sub" / "deeper" / "script").chmod(0o755)
    (tmp_path / "secret").write_bytes(b"secret")
    return inside


@pytest.mark.parametrize(
    ("command", "parsed"),
    [
        ("scp -t .", ScpCommand(True, (".",))),
        ("scp -r -p -d -t -- 'a b'", ScpCommand(True, ("a b",), True, True, True)),
        ("scp -v -prf x y*", ScpCommand(False, ("x", "y*"), True, True)),
        ("scp -t -- -t", ScpCommand(True, ("-t",))),
        ("scp a b", None),
        ("scp -t", None),
        ("scp -t a b", None),
        ("scp -tf a", None),
        ("scp -S evil -t a", None),
        ("scp -t 'a", None),
        ("scpx -t a", None),
        ("sh -c scp", None),
        ("", None),
    ],
)
def test_the_command(command: str, parsed: ScpCommand | None) -> None:
    assert parse_scp_command(command) == parsed


@given(st.text())
def test_no_command_breaks_the_parser(command: str) -> None:
    parse_scp_command(command)
    parse_scp_command(f"scp -t {command}")


def scp(trees: list[FileTree], *arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """The real scp; what it starts in place of ssh is the worker, with the command that scp asks for."""
    told = ",".join(str(tree) for tree in trees)
    program = cwd / "in-place-of-ssh"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from irosh.core.file_tree import parse_tree\n"
        "from irosh.node.accounts import find_account\n"
        "from irosh.services.files.worker_process import worker_arguments\n"
        f"trees = [parse_tree(text) for text in {told!r}.split(',')]\n"
        "told = {'scp': sys.argv[-1], 'standard_links': False}\n"
        "arguments = worker_arguments(find_account('-'), trees, module='irosh.services.files.worker', **told)\n"
        "os.execve(arguments[0], arguments, {})\n"
    )
    program.chmod(0o755)
    return subprocess.run(
        ["scp", "-O", "-S", str(program), *arguments], cwd=cwd, capture_output=True, timeout=60, check=False
    )


@requires("scp")
def test_files_there_and_back(share: Path, tmp_path: Path) -> None:
    trees = [FileTree(str(share))]
    (tmp_path / "new").write_bytes(os.urandom(1_000_000))
    done = scp(trees, "new", "host:renamed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (share / "renamed").read_bytes() == (tmp_path / "new").read_bytes()
    assert scp(trees, "new", "secret", "host:sub", cwd=tmp_path).returncode == 0
    assert (share / "sub" / "new").exists() and (share / "sub" / "secret").exists()
    assert scp(trees, "host:renamed", "back", cwd=tmp_path).returncode == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "new").read_bytes()


@requires("scp")
def test_directories_with_modes_and_times(share: Path, tmp_path: Path) -> None:
    trees = [FileTree(str(share))]
    os.utime(share / "sub/deeper/script", (1_000_000_000, 1_100_000_000))
    done = scp(trees, "-r", "-p", "host:sub", "got", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = (tmp_path / "got/deeper/script").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o755, 1_100_000_000)
    done = scp(trees, "-r", "-p", "got", "host:put", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = (share / "put/deeper/script").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o755, 1_100_000_000)


@requires("scp")
def test_patterns_are_matched_at_the_far_end(share: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", ".hidden.txt", "c.md"):
        (share / name).touch()
    (tmp_path / "got").mkdir()
    done = scp([FileTree(str(share))], "host:*.txt", "got", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "got")) == ["a.txt", "b.txt"]


@requires("scp")
def test_what_does_not_work_is_said(share: Path, tmp_path: Path) -> None:
    trees = [FileTree(str(share), read_only=True)]
    done = scp(trees, "secret", "host:", cwd=tmp_path)
    assert (done.returncode, os.listdir(share)) == (1, os.listdir(share))
    assert b"Read-only file system" in done.stderr
    for path in ("../secret", "/etc/shadow", "no-such"):
        done = scp(trees, f"host:{path}", "got", cwd=tmp_path)
        assert done.returncode == 1
        assert b"No such file or directory" in done.stderr
    assert b"not a regular file" in scp(trees, "host:sub", "got", cwd=tmp_path).stderr
    assert not (tmp_path / "got").exists()


def speak(share: Path, command: str, said: bytes) -> tuple[int, bytes]:
    with worker([FileTree(str(share))], scp=command) as process:
        output, _ = process.communicate(said, timeout=20)
        return process.returncode, output


@pytest.mark.parametrize(
    "said",
    [
        b"C0644 5 ../secret\nhello\0",
        b"C0644 5 /etc/x\nhello\0",
        b"C0644 5 ..\n",
        b"C0644 5 .\n",
        b"C0644 5 \n",
        b"C0644 99999999999999999999 x\n",
        b"C0644 -5 x\n",
        b"Cabcd 5 x\n",
        b"D0755 0 x\n",
        b"E\n",
        b"T1 2\n",
        b"nonsense\n",
        b"x" * 20_000,
    ],
)
def test_nonsense_ends_the_transfer(share: Path, said: bytes) -> None:
    status, output = speak(share, "scp -t .", said)
    assert status == 1
    assert output.startswith(b"\0\2scp: ") and output.endswith(b"\n")
    assert (share.parent / "secret").read_bytes() == b"secret"


def test_directories_end_somewhere(share: Path) -> None:
    status, output = speak(share, "scp -r -t .", b"D0755 0 d\n" * 500)
    assert status == 1 and b"too many directories" in output


def test_a_transfer_that_is_cut_fails(share: Path) -> None:
    assert speak(share, "scp -t .", b"C0644 500 cut\nonly this")[0] == 1
    assert speak(share, "scp -f file", b"\0")[0] == 1


def test_a_file_that_cannot_be_written_is_read_to_its_end(share: Path) -> None:
    """``/dev/full`` takes nothing; what is sent for it is dropped, so that the next file can follow."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with worker([FileTree("/")], scp="scp -t /dev/full") as process:
        output, _ = process.communicate(b"C0644 5 full\nhello\0", timeout=20)
    assert process.returncode == 1
    assert os.strerror(errno.ENOSPC).encode() in output


def test_the_words_of_a_shell_are_only_words(share: Path) -> None:
    command = "scp -f " + shlex.quote("$(touch made); `touch made`")
    assert speak(share, command, b"\0\0")[0] == 1
    assert not (share / "made").exists()


class Counted(Tree):
    """Counts the directories that are read."""

    read = 0

    def list(self, path: bytes) -> Listing:
        self.read += 1
        return super().list(path)


def test_links_that_lead_round_make_no_endless_paths(
    share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scp_server, "MAX_MATCHES", 50)
    (share / "file").unlink()
    for name in range(30):
        (share / f"{name:02}").symlink_to(".")
    tree = Counted(confined([(str(share), True)]))
    with open("/dev/zero", "rb") as agreeing, (tmp_path / "said").open("wb") as said:
        command = ScpCommand(False, ("*/*/*",))
        assert scp_server.ScpServer(tree, command, agreeing.fileno(), said.fileno()).run() == 1
    assert (tmp_path / "said").read_bytes().count(b"not a regular file") == 50
    assert tree.read < 20
