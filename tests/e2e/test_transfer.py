"""``irosh put``, ``get`` and ``cp`` between real nodes: what arrives, cuts of all kinds, rights, and full disks."""

from __future__ import annotations

import os
import pwd
import random
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from blake3 import blake3

from tests.lab.pair import PEER, Pair, pinned_pair
from tests.lab.processes import process_tree, wait_until
from tests.lab.requirements import requires, requires_netns
from tests.lab.routed import routed
from tests.lab.terminal import Terminal

MEBIBYTE = 1024 * 1024
MANY = 10_000
SLOW = "--limit=4M"


def write_large(path: Path, size: int = 16 * MEBIBYTE) -> bytes:
    """Random bytes; returns their hash."""
    content = random.Random(size).randbytes(size)
    path.write_bytes(content)
    return blake3(content).digest()


def digest(path: Path) -> bytes:
    """The hash of a file."""
    return blake3(path.read_bytes()).digest()


def contents(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """All files below ``root``: permissions, times, hashes."""
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            status = path.stat()
            found[str(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, digest(path))
    return found


def partial(folder: Path) -> Path | None:
    """The file that is arriving in ``folder``."""
    return next(folder.glob(".irosh-part.*"), None)


def arriving(folder: Path, size: int) -> None:
    """Wait until ``size`` bytes of a file have arrived in ``folder``."""

    def has_arrived() -> bool:
        path = partial(folder)
        return path is not None and path.stat().st_size >= size

    wait_until(has_arrived, what=f"{size} bytes have arrived")


def make_many(root: Path, count: int = MANY) -> None:
    chance = random.Random(count)
    for number in range(count):
        folder = root / f"{number // 250}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}").write_bytes(chance.randbytes(chance.randrange(3000)))


def test_one_file_there_and_back(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.client
    expected = write_large(tmp_path / "large")
    (tmp_path / "there").mkdir()
    done = client.call("put", str(tmp_path / "large"), f"{PEER}:{tmp_path}/there/")
    assert (done["files"], done["bytes"]) == (1, 16 * MEBIBYTE)
    done = client.call("get", f"{PEER}:{tmp_path}/there/large", str(tmp_path / "back"))
    assert (done["files"], done["bytes"]) == (1, 16 * MEBIBYTE)
    assert digest(tmp_path / "there" / "large") == digest(tmp_path / "back") == expected
    assert not list(tmp_path.rglob(".irosh-part.*"))


def test_ten_thousand_files_there_and_back(loopback_pair: Pair, tmp_path: Path) -> None:
    client = loopback_pair.client
    make_many(tmp_path / "many")
    expected = contents(tmp_path / "many")
    done = client.call("put", "-r", str(tmp_path / "many"), f"{PEER}:{tmp_path}/there")
    assert (done["files"], done["unchanged"]) == (MANY, 0)
    assert contents(tmp_path / "there") == expected
    client.call("get", "-r", f"{PEER}:{tmp_path}/there", str(tmp_path / "back"))
    assert contents(tmp_path / "back") == expected
    done = client.call("put", "-r", "--resume", str(tmp_path / "many") + "/.", f"{PEER}:{tmp_path}/there")
    assert (done["files"], done["unchanged"]) == (0, MANY)


def test_from_one_peer_to_another(loopback_pair: Pair, tmp_path: Path) -> None:
    make_many(tmp_path / "many", 300)
    write_large(tmp_path / "many" / "large")
    done = loopback_pair.client.call("cp", "-r", f"{PEER}:{tmp_path}/many", f"{PEER}:{tmp_path}/copy")
    assert done["files"] == 301
    assert contents(tmp_path / "copy") == contents(tmp_path / "many")
    status = (tmp_path / "copy" / "large").stat()
    (tmp_path / "copy" / "large").write_bytes(bytes(status.st_size))
    os.utime(tmp_path / "copy" / "large", ns=(1, status.st_mtime_ns))
    done = loopback_pair.client.call("cp", "-r", "--resume", f"{PEER}:{tmp_path}/many/.", f"{PEER}:{tmp_path}/copy")
    assert (done["files"], done["unchanged"]) == (1, 300)  # of the same size and time, but another content
    assert contents(tmp_path / "copy") == contents(tmp_path / "many")
    failure = loopback_pair.client.failure("cp", f"{PEER}:{tmp_path}/missing", f"{PEER}:{tmp_path}/x")
    assert failure["code"] == "file-error"
    failure = loopback_pair.client.failure("cp", f"{PEER}:{tmp_path}/many/large", f"{PEER}:{tmp_path}/no/where")
    assert failure["code"] == "file-error"


@pytest.mark.parametrize("direction", ["put", "get"])
def test_a_killed_command_is_resumed(loopback_pair: Pair, tmp_path: Path, direction: str) -> None:
    expected = write_large(tmp_path / "large")
    (tmp_path / "there").mkdir()
    source, target = str(tmp_path / "large"), str(tmp_path / "there")
    words = [source, f"{PEER}:{target}"] if direction == "put" else [f"{PEER}:{source}", target]
    with loopback_pair.client.start(direction, SLOW, *words) as process:
        arriving(tmp_path / "there", 5 * MEBIBYTE)
        process.kill()
    assert not (tmp_path / "there" / "large").exists()
    had = _settled_size(tmp_path / "there")
    with loopback_pair.client.start(direction, SLOW, "--resume", *words) as process:
        assert process.wait_exit() == 0
        so_far = [event["bytes"] for event in process.events if event.get("event") == "progress" and event["bytes"]]
        assert so_far[0] >= had
        took = process.events[-1]["seconds"]
    assert digest(tmp_path / "there" / "large") == expected
    assert took < 16 * MEBIBYTE / 4e6  # less than all of it takes at this rate
    assert partial(tmp_path / "there") is None


@pytest.mark.parametrize("direction", ["put", "get"])
def test_why_it_was_broken_off_is_told(loopback_pair: Pair, tmp_path: Path, direction: str) -> None:
    client = loopback_pair.add_client(tmp_path / "client", allow=["files"])
    write_large(tmp_path / "large")
    (tmp_path / "there").mkdir()
    source, target = str(tmp_path / "large"), str(tmp_path / "there")
    words = [source, f"{PEER}:{target}"] if direction == "put" else [f"{PEER}:{source}", target]
    with client.start(direction, SLOW, *words) as process:
        arriving(tmp_path / "there", MEBIBYTE)
        loopback_pair.host.call("peer", "revoke", client.call("identity", "show")["id"])
        error = process.wait_failure()
    assert (error["code"], error["hint"]) == ("revoked", "--resume goes on where it ended")


def test_a_changed_source_is_not_gone_on_with(loopback_pair: Pair, tmp_path: Path) -> None:
    write_large(tmp_path / "large")
    (tmp_path / "there").mkdir()
    words = [str(tmp_path / "large"), f"{PEER}:{tmp_path}/there"]
    with loopback_pair.client.start("put", SLOW, *words) as process:
        arriving(tmp_path / "there", 3 * MEBIBYTE)
        process.kill()
    _settled_size(tmp_path / "there")
    status = (tmp_path / "large").stat()
    changed = bytearray((tmp_path / "large").read_bytes())
    changed[1000] ^= 1
    (tmp_path / "large").write_bytes(changed)
    os.utime(tmp_path / "large", ns=(1, status.st_mtime_ns))  # as a program would that hides what it does
    loopback_pair.client.call("put", "--resume", *words)
    assert digest(tmp_path / "there" / "large") == blake3(changed).digest()


def test_a_killed_host_is_no_end(tmp_path: Path) -> None:
    """The transfer fails, what has arrived stays, and goes on when the host is back."""
    expected = write_large(tmp_path / "large")
    (tmp_path / "there").mkdir()
    words = [str(tmp_path / "large"), f"{PEER}:{tmp_path}/there"]
    config = '[session]\nkeepalive = "1s"\ndead_after = "2s"\nresume = "4s"'
    with pinned_pair(tmp_path, config=config) as pair:
        with pair.client.start("put", SLOW, *words) as process:
            arriving(tmp_path / "there", 3 * MEBIBYTE)
            workers = [each for each in process_tree(pair.host_process.pid) if each.pid != pair.host_process.pid]
            pair.host_process.kill()
            failure = process.wait_failure()
            assert failure["code"] == "connection-lost"
            assert "--resume" in failure["hint"]
        wait_until(lambda: not any(each.alive for each in workers), what="the worker has ended as well")
        with pair.host.start("host") as again:
            ticket = again.wait_event("ready")["ticket"]
            pair.client.run("connect", ticket, "true")
            pair.client.call("put", "--resume", *words)
    assert digest(tmp_path / "there" / "large") == expected


@pytest.mark.netns
@requires_netns()
@pytest.mark.parametrize("direction", ["put", "get"])
def test_the_link_goes_down_and_up(tmp_path: Path, direction: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "there").mkdir()
    expected = write_large(tmp_path / "source" / "large", 40 * MEBIBYTE)
    make_many(tmp_path / "source" / "many", 500)
    source, target = str(tmp_path / "source"), str(tmp_path / "there")
    words = [source, f"{PEER}:{target}"] if direction == "put" else [f"{PEER}:{source}", target]
    config = '[session]\nkeepalive = "1s"\ndead_after = "3s"'
    with routed(tmp_path, config=config) as (pair, place):
        with pair.client.start(direction, "-r", "--limit=8M", *words) as process:
            arriving(tmp_path / "there" / "source", 5 * MEBIBYTE)
            place.client_link.down()
            process.wait_event("lost")
            time.sleep(2)
            place.client_link.up()
            assert process.wait_event("resumed")["gap"] > 1
            assert process.wait_exit(timeout=90) == 0
        assert digest(tmp_path / "there" / "source" / "large") == expected
        assert contents(tmp_path / "there" / "source") == contents(tmp_path / "source")


class TestRights:
    """What the host's owner allows."""

    def test_a_tree_for_reading_only(self, loopback_pair: Pair, tmp_path: Path) -> None:
        (tmp_path / "share").mkdir()
        (tmp_path / "share" / "file").write_text("shared")
        (tmp_path / "share" / "out").symlink_to(tmp_path / "secret")
        (tmp_path / "secret").write_text("secret")
        client = loopback_pair.add_client(tmp_path / "reader", allow=["exec", f"files:{tmp_path}/share:ro"])
        client.call("get", f"{PEER}:/file", str(tmp_path / "got"))
        assert (tmp_path / "got").read_text() == "shared"
        failure = client.failure("put", str(tmp_path / "secret"), f"{PEER}:/")
        assert failure["code"] == "denied"
        for path in (f"{tmp_path}/secret", "/../secret", "../secret", "/out"):
            assert client.failure("get", f"{PEER}:{path}", str(tmp_path / "x"))["code"] == "file-error"
        failure = client.failure("get", "-r", f"{PEER}:/", str(tmp_path / "all"))
        assert failure["code"] == "transfer-incomplete"
        assert {path.name for path in (tmp_path / "all").iterdir()} == {"file"}
        assert not (tmp_path / "x").exists()

    def test_a_tree_for_writing(self, loopback_pair: Pair, tmp_path: Path) -> None:
        (tmp_path / "share").mkdir()
        (tmp_path / "share" / "out").symlink_to(tmp_path)
        (tmp_path / "file").write_text("x")
        client = loopback_pair.add_client(tmp_path / "writer", allow=["exec", f"files:{tmp_path}/share"])
        client.call("put", str(tmp_path / "file"), f"{PEER}:")
        assert (tmp_path / "share" / "file").read_text() == "x"
        for path in ("/out/y", "/../y", f"{tmp_path}/y"):
            client.run("put", str(tmp_path / "file"), f"{PEER}:{path}")
        assert not (tmp_path / "y").exists()

    def test_nothing_at_all(self, loopback_pair: Pair, tmp_path: Path) -> None:
        client = loopback_pair.add_client(tmp_path / "other", allow=["exec"])
        assert client.failure("get", f"{PEER}:/etc/hostname", str(tmp_path / "x"))["code"] == "denied"
        audit = loopback_pair.host.run("audit").stdout
        assert b"files" in audit

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs a host that runs as root")
    def test_as_another_user(self, loopback_pair: Pair, tmp_path: Path) -> None:
        nobody = pwd.getpwnam("nobody")
        (tmp_path / "mine").write_text("x")
        client = loopback_pair.add_client(tmp_path / "guest", allow=["exec", "files", "user:nobody"])
        with tempfile.TemporaryDirectory(prefix="irosh-transfer-") as directory:
            place = Path(directory)
            place.chmod(0o777)
            (place / "secret").write_text("x")
            (place / "secret").chmod(0o600)
            client.call("put", str(tmp_path / "mine"), f"nobody@{PEER}:{place}/")
            assert ((place / "mine").stat().st_uid, (place / "mine").stat().st_gid) == (nobody.pw_uid, nobody.pw_gid)
            failure = client.failure("get", f"nobody@{PEER}:{place}/secret", str(tmp_path / "x"))
            assert failure["code"] == "transfer-incomplete"
            failure = client.failure("put", str(tmp_path / "mine"), f"daemon@{PEER}:{place}/other")
            assert failure["code"] == "denied"
            assert not (place / "other").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a file system of its own")
@pytest.mark.parametrize("direction", ["put", "get"])
def test_a_full_disk(loopback_pair: Pair, tmp_path: Path, direction: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    expected = write_large(tmp_path / "large")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6M", "none", str(disk)], check=True)
    try:
        source = str(tmp_path / "large")
        words = [source, f"{PEER}:{disk}"] if direction == "put" else [f"{PEER}:{source}", str(disk)]
        failure = loopback_pair.client.failure(direction, *words)
        assert failure["code"] == "disk-full"
        assert "large" in failure["message"]
        left = partial(disk)
        assert left is not None
        assert left.stat().st_size > MEBIBYTE
        subprocess.run(["mount", "-o", "remount,size=40M", str(disk)], check=True)
        assert loopback_pair.client.call(direction, "--resume", *words)["files"] == 1
        assert digest(disk / "large") == expected
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_what_cannot_be_copied_is_named_and_the_rest_is(loopback_pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "good").write_text("x")
    (tmp_path / "source" / "dang\x1b[31mling").symlink_to("missing")
    os.mkfifo(tmp_path / "source" / "pipe")
    words = ["-r", str(tmp_path / "source"), f"{PEER}:{tmp_path}/there"]
    done = loopback_pair.client.run("put", *words)
    assert done.returncode == 1
    assert b"\x1b" not in done.stderr
    assert b"source/dang\\x1b[31mling: No such file or directory" in done.stderr
    assert b"source/pipe: a named pipe" in done.stderr
    assert (tmp_path / "there" / "good").read_text() == "x"
    with loopback_pair.client.start("get", "-r", f"{PEER}:{tmp_path}/source", str(tmp_path / "back")) as process:
        assert process.wait_failure()["code"] == "transfer-incomplete"
        problems = [event for event in process.events if event.get("event") == "problem"]
        assert sorted((event["path"], event["skipped"]) for event in problems) == [
            ("source/dang\\x1b[31mling", False),
            ("source/pipe", True),
        ]


@requires("tmux")
def test_the_bar_on_a_terminal(loopback_pair: Pair, tmp_path: Path) -> None:
    name = "x\x1b]2;owned\x07.dat"
    write_large(tmp_path / name, 12 * MEBIBYTE)
    client = loopback_pair.client
    words = (*client.command, "put", "--limit=4M", str(tmp_path / name), f"{PEER}:{tmp_path}/there")
    with Terminal.open(client.machine, tmp_path, *words, columns=120) as terminal:
        terminal.wait_for("MB/s")
        terminal.wait_for("eta")
        assert "\\x1b]2;owned" in terminal.screen()
        assert terminal.wait_exit() == 0
    assert (tmp_path / "there").stat().st_size == 12 * MEBIBYTE


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["put", "x", "no-peer"], "names no peer"),
        (["get", "here"], "the sources are on a peer"),
        (["cp", "a", "b"], "neither is on a peer"),
        (["put", "x", "@box:y"], "names no peer"),
        (["put", "--limit", "fast", "x", "box:y"], "is not a rate"),
    ],
)
def test_words_that_make_no_sense(loopback_pair: Pair, words: list[str], message: str) -> None:
    failure = loopback_pair.client.failure(*words)
    assert failure["code"] == "usage"
    assert message in failure["message"]


def _settled_size(folder: Path) -> int:
    """How much of a file has arrived, once no process adds to it."""
    left = partial(folder)
    assert left is not None
    sizes: list[int] = []

    def settled() -> bool:
        sizes.append(left.stat().st_size)
        return len(sizes) > 3 and sizes[-1] == sizes[-4]

    wait_until(settled, what="nothing more arrives")
    return sizes[-1]
