"""The SFTP server in its own process: requests of decent clients, and of others."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from irosh.core.file_tree import EVERYTHING, FileTree
from irosh.node.accounts import Account
from irosh.services.files.long_names import long_name
from irosh.services.files.sftp_handles import MAX_HANDLES
from irosh.services.files.sftp_server import EXTENSIONS
from irosh.services.files.sftp_wire import MAX_DATA, MAX_PACKET, Packet, Status
from tests.lab.processes import resident_memory
from tests.support.sftp_client import NO_ATTRIBUTES, SFTPClient, long, number, sftp, text, worker

READ, WRITE, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32


@pytest.fixture
def share(tmp_path: Path) -> Path:
    inside = tmp_path / "share"
    (inside / "sub").mkdir(parents=True)
    (inside / "file").write_bytes(b"0123456789")
    (tmp_path / "secret").write_bytes(b"secret")
    return inside


@pytest.fixture
def client(share: Path) -> Iterator[SFTPClient]:
    with sftp([FileTree(str(share))]) as made:
        yield made


def test_the_extensions_are_announced(share: Path) -> None:
    with worker([FileTree(str(share))]) as process:
        assert SFTPClient(process).begin() == EXTENSIONS


def test_reading_and_writing(client: SFTPClient, share: Path) -> None:
    handle = text(client.open(b"file", READ | WRITE).handle())
    assert client.ask(Packet.READ, handle, long(3), number(4)).data() == b"3456"
    assert client.ask(Packet.READ, handle, long(10), number(4)).status()[0] == Status.EOF
    assert client.ask(Packet.WRITE, handle, long(8), text(b"abcd")).status()[0] == Status.OK
    assert client.extended(b"fsync@openssh.com", handle).status()[0] == Status.OK
    assert client.ask(Packet.CLOSE, handle).status()[0] == Status.OK
    assert client.ask(Packet.CLOSE, handle).status()[0] == Status.FAILURE
    assert (share / "file").read_bytes() == b"01234567abcd"


def test_appending_ignores_the_offset(client: SFTPClient, share: Path) -> None:
    handle = text(client.open(b"file", WRITE | APPEND).handle())
    assert client.ask(Packet.WRITE, handle, long(0), text(b"end")).status()[0] == Status.OK
    assert (share / "file").read_bytes() == b"0123456789end"


def test_directories_are_listed_to_their_end(client: SFTPClient, share: Path) -> None:
    for n in range(250):
        (share / "sub" / f"{n}").touch()
    handle = text(client.ask(Packet.OPENDIR, text(b"sub")).handle())
    found: list[bytes] = []
    while (reply := client.ask(Packet.READDIR, handle)).kind == Packet.NAME:
        found += reply.names()
    assert reply.status()[0] == Status.EOF
    assert sorted(found) == sorted(b"%d" % n for n in range(250))


def test_names_links_and_attributes(client: SFTPClient, share: Path) -> None:
    assert client.ask(Packet.REALPATH, text(b".")).names() == [b"/"]
    assert client.ask(Packet.SYMLINK, text(b"/file"), text(b"sub/link")).status()[0] == Status.OK
    assert client.ask(Packet.READLINK, text(b"sub/link")).names() == [b"../file"]
    assert client.ask(
        Packet.SETSTAT, text(b"sub/link"), number(1 | 4 | 8), long(4), number(0o600), number(7), number(9)
    )
    found = (share / "file").stat()
    assert (found.st_size, stat.S_IMODE(found.st_mode), found.st_atime, found.st_mtime) == (4, 0o600, 7, 9)
    reply = client.ask(Packet.LSTAT, text(b"sub/link"))
    attributes = reply.body.attributes()
    assert attributes.permissions is not None and stat.S_ISLNK(attributes.permissions)
    assert client.ask(Packet.MKDIR, text(b"new"), NO_ATTRIBUTES).status()[0] == Status.OK
    assert client.ask(Packet.RENAME, text(b"new"), text(b"sub")).status()[0] == Status.FAILURE
    assert client.ask(Packet.RMDIR, text(b"new")).status()[0] == Status.OK
    assert client.ask(Packet.RENAME, text(b"file"), text(b"moved")).status()[0] == Status.OK
    assert client.extended(b"hardlink@openssh.com", text(b"moved"), text(b"again")).status()[0] == Status.OK
    assert client.extended(b"posix-rename@openssh.com", text(b"moved"), text(b"again")).status()[0] == Status.OK
    assert client.ask(Packet.REMOVE, text(b"again")).status()[0] == Status.OK


def test_clients_that_keep_to_the_draft_make_the_same_links(share: Path) -> None:
    with sftp([FileTree(str(share))], standard_links=True) as client:
        assert client.ask(Packet.SYMLINK, text(b"sub/link"), text(b"/file")).status()[0] == Status.OK
    assert os.readlink(share / "sub/link") == "../file"


def test_the_other_extensions(client: SFTPClient, share: Path) -> None:
    reply = client.extended(b"limits@openssh.com")
    assert [reply.body.uint64() for _ in range(4)] == [MAX_PACKET, MAX_DATA, MAX_DATA, MAX_HANDLES]
    assert client.extended(b"statvfs@openssh.com", text(b"/")).body.uint64() > 0
    source = text(client.open(b"file").handle())
    target = text(client.open(b"copy", WRITE | CREATE).handle())
    assert client.extended(b"fstatvfs@openssh.com", source).body.uint64() > 0
    assert client.extended(b"copy-data", source, long(2), long(0), target, long(0)).status()[0] == Status.OK
    assert (share / "copy").read_bytes() == b"23456789"
    assert client.extended(b"copy-data", source, long(0), long(0), source, long(0)).status()[0] == Status.FAILURE
    assert client.extended(b"expand-path@openssh.com", text(b"~/sub/../x")).names() == [b"/x"]
    assert client.extended(b"home-directory", text(b"root")).names() == [b"/"]
    users = client.extended(b"users-groups-by-id@openssh.com", text(number(0)), text(number(0)))
    assert (users.body.string(), users.body.string()) == (text(b""), text(b""))  # a confined peer learns no names
    assert client.extended(b"lsetstat@openssh.com", text(b"file"), number(4), number(0o644)).status()[0] == Status.OK
    assert client.extended(b"no-such@example.org").status()[0] == Status.OP_UNSUPPORTED


def test_who_may_use_everything_learns_names(tmp_path: Path) -> None:
    with sftp([EVERYTHING]) as client:
        users = client.extended(b"users-groups-by-id@openssh.com", text(number(0)), text(b""))
        assert users.body.string() == text(b"root")
        assert client.ask(Packet.REALPATH, text(b"")).names() == [os.fsencode(Path.home().resolve())]
        assert client.extended(b"expand-path@openssh.com", text(b"~root")).names() == [b"/root"]
        assert client.extended(b"home-directory", text(b"no-such-user")).status()[0] == Status.NO_SUCH_FILE


# -- bad clients


@pytest.mark.parametrize("path", [b"../../etc/shadow", b"/../secret", b"/etc/shadow", b"sub/../../secret"])
def test_nothing_outside_is_there(client: SFTPClient, path: bytes) -> None:
    assert client.open(path).status()[0] == Status.NO_SUCH_FILE
    assert client.ask(Packet.STAT, text(path)).status()[0] == Status.NO_SUCH_FILE


def test_a_read_of_four_gigabytes_gets_what_a_packet_holds(client: SFTPClient, share: Path) -> None:
    (share / "large").write_bytes(bytes(MAX_DATA + 5))
    handle = text(client.open(b"large").handle())
    assert len(client.ask(Packet.READ, handle, long(0), number(0xFFFF_FFFF)).data()) == MAX_DATA
    assert client.ask(Packet.READ, handle, long(2**64 - 1), number(1)).status()[0] == Status.FAILURE
    assert client.ask(Packet.READ, handle, long(2**62), number(1)).status()[0] == Status.EOF


def test_handles_are_limited(client: SFTPClient) -> None:
    for _ in range(MAX_HANDLES):
        client.open(b"file").handle()
    status, message = client.open(b"file").status()
    assert (status, message) == (Status.FAILURE, f"too many open files: {MAX_HANDLES}")
    assert client.ask(Packet.OPENDIR, text(b"/")).status()[0] == Status.FAILURE
    assert client.ask(Packet.CLOSE, text(number(0))).status()[0] == Status.OK
    client.open(b"file").handle()
    assert client.process.pid and resident_memory(client.process.pid) < 60_000_000


def test_all_handles_may_be_directories(client: SFTPClient) -> None:
    for _ in range(MAX_HANDLES):
        client.ask(Packet.OPENDIR, text(b"/")).handle()
    assert client.ask(Packet.STAT, text(b"sub/../sub/../file")).kind == Packet.ATTRS


@pytest.mark.parametrize("size", [0, MAX_PACKET + 1, 2**32 - 1])
def test_a_packet_too_large_ends_the_session(client: SFTPClient, size: int) -> None:
    client.raw(struct.pack(">I", size) + b"\x05")
    assert client.process.wait(20) == 1
    assert client.process.stderr is not None
    assert client.process.stderr.read() == f"irosh: not SFTP: a packet of {size} bytes\n".encode()


def test_what_is_not_sftp_ends_the_session(share: Path) -> None:
    for said in (struct.pack(">IBI", 5, Packet.OPEN, 1), b"GET / HTTP/1.1\r\n\r\n"):
        with worker([FileTree(str(share))]) as process:
            SFTPClient(process).raw(said)
            assert process.wait(20) == 1


@pytest.mark.parametrize(
    "fields",
    [
        (Packet.OPEN, b""),
        (Packet.OPEN, number(0xFFFF_FFFF), b"x"),
        (Packet.OPEN, text(b"file"), number(0xFF), NO_ATTRIBUTES),
        (Packet.OPEN, text(b"file"), number(1), number(1 << 31), number(0xFFFF_FFFF)),
        (Packet.SETSTAT, text(b"file"), number(0x7FFF_0000)),
        (Packet.READ, text(b""), long(0)),
        (Packet.EXTENDED, b"\0"),
    ],
)
def test_malformed_requests_are_told_so(client: SFTPClient, fields: tuple[Packet, *tuple[bytes, ...]]) -> None:
    assert client.ask(*fields).status()[0] in (Status.BAD_MESSAGE, Status.FAILURE)
    assert client.ask(Packet.REALPATH, text(b".")).names() == [b"/"]


@pytest.mark.parametrize("kind", [0, 1, 21, 50, 101, 255])
def test_unknown_requests_are_told_so(client: SFTPClient, kind: int) -> None:
    assert client.ask(kind).status()[0] == Status.OP_UNSUPPORTED


def test_handles_that_do_not_exist(client: SFTPClient) -> None:
    for handle in (b"", b"\0\0\0\0", b"x" * 300):
        assert client.ask(Packet.READ, text(handle), long(0), number(1)).status()[0] == Status.FAILURE
        assert client.ask(Packet.READDIR, text(handle)).status()[0] == Status.FAILURE


def test_a_client_that_does_not_read_is_not_read_from(client: SFTPClient, share: Path) -> None:
    (share / "large").write_bytes(bytes(MAX_DATA))
    handle = text(client.open(b"large").handle())
    assert client.process.stdin is not None
    os.set_blocking(client.process.stdin.fileno(), False)
    sent = 0
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        try:
            client.send(Packet.READ, handle, long(0), number(MAX_DATA))
            sent += 1
        except BlockingIOError:
            break
    assert sent < 50_000
    assert resident_memory(client.process.pid) < 60_000_000


@pytest.mark.parametrize("name", [b"\x1b[31mred\x07", b"line\nbreak", b"\xff\xfe", b"a\tb", "‮txt".encode()])
def test_odd_names_pass_as_they_are(client: SFTPClient, share: Path, name: bytes) -> None:
    client.open(name, WRITE | CREATE).handle()
    handle = text(client.ask(Packet.OPENDIR, text(b"/")).handle())
    assert name in client.ask(Packet.READDIR, handle).names()
    status, message = client.open(name + b"-not", READ).status()
    assert status == Status.NO_SUCH_FILE and message.isprintable()


def test_any_time_of_a_file_can_be_shown() -> None:
    """Whoever may write to a directory could else hide from others what is in it."""
    for seconds in (0.0, 1e9, 1e12, 2.0**62, -(2.0**62)):
        shown = long_name(b"file", os.stat_result((0o100644, 0, 0, 1, 0, 0, 5, 0, seconds, 0)), with_names=False)
        assert shown.startswith(b"-rw-r--r--   1 0        0               5 ") and shown.endswith(b" file")


def test_a_name_with_a_zero_is_refused(client: SFTPClient) -> None:
    assert client.open(b"file\0.txt").status() == (Status.FAILURE, "Invalid argument")
    assert client.ask(Packet.SYMLINK, text(b"a\0b"), text(b"link")).status()[0] == Status.FAILURE


def test_a_full_disk_is_said(share: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with sftp([EVERYTHING]) as client:
        handle = text(client.open(b"/dev/full", WRITE).handle())
        assert client.ask(Packet.WRITE, handle, long(0), text(b"x")).status() == (
            Status.FAILURE,
            "No space left on device",
        )


def test_a_read_only_tree_says_so(share: Path) -> None:
    with sftp([FileTree(str(share), read_only=True)]) as client:
        assert client.open(b"file", WRITE).status() == (Status.PERMISSION_DENIED, "Read-only file system")
        handle = text(client.open(b"file").handle())
        assert client.ask(Packet.FSETSTAT, handle, number(4), number(0o777)).status()[0] == Status.PERMISSION_DENIED
        assert client.ask(Packet.WRITE, handle, long(0), text(b"x")).status()[0] == Status.FAILURE


def test_a_tree_that_is_not_there(tmp_path: Path) -> None:
    with worker([FileTree(str(tmp_path / "gone"))]) as process:
        assert process.wait(20) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b"irosh: the files are not there: No such file or directory\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_worker_is_the_account() -> None:
    nobody = Account("nobody", 65534, 65534, (65534,), "/", "/bin/sh", switch=True)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        share = Path(directory)
        share.chmod(0o777)
        (share / "private").write_bytes(b"root's")
        (share / "private").chmod(0o600)
        with sftp([FileTree(directory)], account=nobody) as client:
            status = Path(f"/proc/{client.process.pid}/status").read_text()
            assert "Uid:\t65534\t65534\t65534\t65534" in status and "Groups:\t65534" in status
            assert "CapEff:\t0000000000000000" in status
            assert client.open(b"private").status()[0] == Status.PERMISSION_DENIED
            client.open(b"made", WRITE | CREATE).handle()
            assert (share / "made").stat().st_uid == 65534
