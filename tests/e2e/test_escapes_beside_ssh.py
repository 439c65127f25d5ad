"""The same keys typed into stock ``ssh`` and into ``irosh connect``: the remote program reads the same bytes."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.openssh import OpenSSH, openssh
from tests.lab.machine import LOCAL, end_group
from tests.lab.pair import PEER, Pair
from tests.lab.processes import wait_until
from tests.lab.requirements import requires

pytestmark = requires("ssh")

PAUSE = 0.1
"""Seconds between pieces, so that they arrive one by one."""
END = b"\rEND"

CASES: dict[str, tuple[bytes, ...]] = {
    "text": (b"plain text\r",),
    "every byte but the character": (bytes(byte for byte in range(256) if byte != ord("~")),),
    "the character inside a line": (b"a~.~?~~\r",),
    "the character at the beginning": (b"~x\r",),
    "twice": (b"~~.\r",),
    "three times": (b"~~~.\r",),
    "twice, split": (b"~", b"~", b".", b"\r"),
    "a home directory": (b"cd\r~/src\r~user\r",),
    "behind CR": (b"one\r~?two\r",),
    "behind LF": (b"one\n~?two\n",),
    "behind CR LF": (b"one\r\n~?two\r\n",),
    "split behind the newline": (b"one\r", b"~?two\r"),
    "split behind the character": (b"one\r~", b"?two\r"),
    "split everywhere": tuple(bytes([byte]) for byte in b"o\r~?t~?\r~~x\r"),
    "several in a row": (b"~?~#~?after\r",),
    "an escape, then the character": (b"~?~x\r",),
    "an unknown key, then an escape": (b"~x\r~?y\r",),
    "an unknown key does not begin a line": (b"~x~?\r",),
    "newline as the key": (b"~\r~?x\r",),
    "the character before a control key": (b"~\x01\x02~\r",),
    "verbosity": (b"~V~v~Vx\r",),
    "rekey": (b"~R", b"x\r", b"~R", b"y\r"),
    "break": (b"~Bx\r",),
    "a pending character at the end": (b"x\r~",),
    "not ASCII": ("~é\r~ü~\r".encode(),),
}


def arrives(command: Sequence[str], end: bytes, pieces: Sequence[bytes], file: Path) -> bytes:
    """What a program on the other side reads of ``pieces``, typed into ``command``; ``end`` leaves the session."""
    remote = f"trap '' INT; stty raw -echo; echo ready; exec cat > {shlex.quote(str(file))}"
    process = LOCAL.popen(*command, remote, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None and process.stdout is not None
    with process.stdin as keys, process.stdout as output:
        try:
            assert b"ready" in output.readline()
            for piece in (*pieces, END):
                keys.write(piece)
                keys.flush()
                time.sleep(PAUSE)
            wait_until(lambda: file.read_bytes().endswith(END), what=f"{pieces} have arrived")
            keys.write(b"\r" + end)
            keys.flush()
            assert process.wait(10) == 255
        finally:
            end_group(process)
    return file.read_bytes().removesuffix(b"\r")


@pytest.fixture(scope="module")
def ssh(loopback_pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> OpenSSH:
    return openssh(loopback_pair.client, tmp_path_factory.mktemp("ssh"))


@pytest.mark.parametrize("case", CASES)
def test_the_same_bytes_arrive(loopback_pair: Pair, ssh: OpenSSH, tmp_path: Path, case: str) -> None:
    pieces = CASES[case]
    theirs = arrives((*ssh.command, "-tt", PEER), b"~.", pieces, tmp_path / "ssh")
    ours = arrives((*loopback_pair.client.command, "connect", "-t", PEER), b"~.", pieces, tmp_path / "irosh")
    assert ours == theirs


@pytest.mark.parametrize(
    ("character", "key", "pieces"),
    [
        ("%", b"%", (b"%?x\r~?\r%%y\r",)),
        ("^]", b"\x1d", (b"\x1d?x\r~?\r", b"\x1d", b"\x1dy\r")),
        ("^x", b"\x18", (b"\x18?x\r\x18y\r",)),
        ("B", b"B", (b"BBx\rB?y\rBz\r",)),
    ],
)
def test_with_another_character(
    loopback_pair: Pair, ssh: OpenSSH, tmp_path: Path, character: str, key: bytes, pieces: tuple[bytes, ...]
) -> None:
    end = key + b"."
    theirs = arrives((*ssh.command, "-e", character, "-tt", PEER), end, pieces, tmp_path / "ssh")
    irosh = (*loopback_pair.client.command, "connect", "-e", character, "-t", PEER)
    assert arrives(irosh, end, pieces, tmp_path / "irosh") == theirs


def test_without_a_terminal_there_are_none(loopback_pair: Pair, ssh: OpenSSH) -> None:
    keys = b"~.\r~?\r~~\r"
    assert ssh.run("-T", PEER, "cat", stdin=keys).stdout == keys
    assert loopback_pair.client.run("connect", PEER, "cat", stdin=keys).stdout == keys


@pytest.mark.parametrize("text", ["ab", "^?", ""])
def test_a_bad_character_is_refused(loopback_pair: Pair, ssh: OpenSSH, text: str) -> None:
    assert ssh.run("-e", text, PEER, "true").returncode == 255
    done = loopback_pair.client.run("connect", "-e", text, PEER, "true")
    assert done.returncode == 2
    assert b"bad escape character" in done.stderr
