"""``irosh mount``: a directory of a peer on this machine, which stays while the link is away."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.pair import PEER, Pair
from tests.lab.processes import processes_with, wait_until
from tests.lab.requirements import requires, requires_fuse, requires_netns
from tests.lab.routed import routed
from tests.support.compatibility import shows

pytestmark = [requires("sshfs", "ssh"), requires_fuse()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "here"
    directory.mkdir()
    yield directory
    LOCAL.run("fusermount3", "-u", "-z", str(directory), check=False)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    directory = tmp_path / "share"
    directory.mkdir()
    (directory / "file").write_bytes(b"content")
    return directory


@shows("sshfs", "reading, writing, `rename`, links, modes, `df`", through="`irosh mount`")
def test_a_directory_of_the_peer_is_used_here(loopback_pair: Pair, share: Path, place: Path) -> None:
    client = loopback_pair.client
    result = client.call("mount", f"{PEER}:{share}", str(place))
    assert result == {"ok": True, "peer": PEER, "path": str(share), "directory": str(place), "read_only": False}
    assert (place / "file").read_bytes() == b"content"
    (place / "new").write_bytes(b"written")
    (place / "sub").mkdir()
    os.rename(place / "new", place / "sub" / "moved")
    os.symlink("moved", place / "sub" / "link")
    (place / "sub" / "link").chmod(0o640)
    assert (share / "sub" / "moved").read_bytes() == b"written"
    assert stat.S_IMODE((share / "sub" / "moved").stat().st_mode) == 0o640
    assert os.statvfs(place).f_blocks > 0
    again = client.failure("mount", f"{PEER}:{share}", str(place))
    assert (again["code"], "mounted already" in again["message"]) == ("mount-failed", True)
    with (place / "file").open("rb"):
        busy = client.failure("umount", str(place))
        assert (busy["code"], "in use" in busy["message"], "--lazy" in busy["hint"]) == ("mount-failed", True, True)
    assert client.call("umount", str(place)) == {"ok": True, "directory": str(place)}
    assert os.listdir(place) == []
    assert list((client.state / "mounts").iterdir()) == []
    assert "nothing is mounted" in client.failure("umount", str(place))["message"]


def test_read_only(loopback_pair: Pair, share: Path, place: Path) -> None:
    loopback_pair.client.call("mount", "--read-only", "-o", "cache=no", f"{PEER}:{share}", str(place))
    with pytest.raises(OSError, match="Read-only"):
        (place / "file").write_bytes(b"x")
    loopback_pair.client.call("umount", "--lazy", str(place))


def test_a_confined_peer_mounts_its_tree(loopback_pair: Pair, share: Path, place: Path, tmp_path: Path) -> None:
    guest = loopback_pair.add_client(tmp_path / "guest", allow=[f"files:{share}:ro"])
    guest.call("mount", f"{PEER}:", str(place))
    assert os.listdir(place) == ["file"]
    with pytest.raises(OSError):
        (place / "new").touch()
    guest.call("umount", str(place))


def test_why_it_cannot_be_mounted(loopback_pair: Pair, share: Path, place: Path, tmp_path: Path) -> None:
    client = loopback_pair.client
    assert client.failure("mount", f"nobody:{share}", str(place))["code"] == "unknown-target"
    assert client.failure("mount", "no-colon", str(place))["code"] == "usage"
    assert "is not a directory" in client.failure("mount", f"{PEER}:{share}", str(tmp_path / "gone"))["message"]
    gone = client.failure("mount", f"{PEER}:{share}/gone", str(place))
    assert (gone["code"], "No such file" in gone["message"]) == ("mount-failed", True), gone
    guest = loopback_pair.add_client(tmp_path / "guest", allow=["exec"])
    refused = guest.failure("mount", f"{PEER}:{share}", str(place))
    assert "the host does not let you use `files`" in refused["message"]
    loopback_pair.host.run("peer", "allow", guest.call("identity", "show")["id"], "files")
    required = ("peer", "require", guest.call("identity", "show")["id"], "password")
    assert loopback_pair.host.run(*required, stdin=b"correct horse battery\n").returncode == 0
    assert "by `irosh verify`" in guest.failure("mount", f"{PEER}:{share}", str(place))["message"]
    astray = client.failure("mount", "-J", "nosuchhop", f"{PEER}:{share}", str(place))
    assert astray["message"].endswith("no peer is named 'nosuchhop'")
    bare = client.run("mount", f"{PEER}:{share}", str(place), environment={"PATH": "/nowhere"})
    assert bare.returncode == 1
    assert bare.stderr.startswith(b"irosh: sshfs is not installed\n  ")


@pytest.mark.netns
@requires_netns()
@shows("sshfs", "the link is away for 20 s while a file is written", through="`irosh mount`")
def test_it_stays_while_the_link_is_away(tmp_path: Path, share: Path) -> None:
    place = tmp_path / "here"
    place.mkdir()
    with routed(tmp_path) as (pair, machines):
        # The mount is seen by the processes of its own mount namespace only: one shell lives in it.
        script = (
            'set -e; "$@" mount box:"$SHARE" "$PLACE" >/dev/null; cat "$PLACE/file"; echo; echo mounted; read go;'
            ' dd if=/dev/zero of="$PLACE/large" bs=1M count=20 status=none; sha256sum < "$PLACE/large";'
            ' "$@" umount "$PLACE"; echo ended'
        )
        with _shell(pair.client, script, share, place) as process, _nothing_left(place):
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline() == b"content\n"
            wait_until(lambda: b"mounted" in process.stdout.readline(), what="it is mounted")  # type: ignore[union-attr]
            machines.client_link.down()
            process.stdin.write(b"go\n")
            process.stdin.flush()
            threading.Event().wait(20.0)
            assert process.poll() is None, "the mount did not survive"
            machines.client_link.up()
            said, _ = process.communicate(timeout=90)
            wait_until(lambda: not processes_with(str(pair.client.state)), what="sshfs has ended its ssh")
    assert said.endswith(b"ended\n"), said
    assert (share / "large").stat().st_size == 20 * 1024 * 1024


@contextmanager
def _nothing_left(place: Path) -> Iterator[None]:
    """sshfs runs on by itself: when the test fails, it is ended with what it started."""
    try:
        yield
    finally:
        for pid in processes_with(str(place)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _shell(client: Irosh, script: str, share: Path, place: Path) -> subprocess.Popen[bytes]:
    return client.machine.popen(
        "sh",
        "-c",
        script,
        "sh",
        *client.command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        environment={"SHARE": str(share), "PLACE": str(place)},
    )
