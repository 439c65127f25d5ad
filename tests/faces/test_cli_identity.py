"""``irosh identity``."""

from __future__ import annotations

import os
import pty
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from irosh.core.identity import Identity, load_identity, openssh_public_key_of
from tests.lab.irosh_process import Irosh
from tests.lab.machine import LOCAL
from tests.lab.requirements import requires

OTHER = Identity.from_secret(b"\7" * 32)


@pytest.fixture
def irosh(tmp_path: Path) -> Irosh:
    return Irosh(LOCAL, tmp_path / "state")


def test_show_makes_the_key_once(irosh: Irosh) -> None:
    first = irosh.call("identity", "show")
    key_file = irosh.state / "identity.key"
    assert first["key_file"] == str(key_file)
    assert first["id"] == load_identity(key_file).id
    assert irosh.call("identity", "show") == first
    assert first["id"] in irosh.run("identity", "show").stdout.decode()


@requires("ssh-keygen")
def test_the_fingerprint_is_the_one_of_ssh_keygen(irosh: Irosh) -> None:
    shown = irosh.call("identity", "show")
    theirs = LOCAL.run("ssh-keygen", "-l", "-f", shown["key_file"]).stdout.decode().split()
    assert shown["fingerprint"] == theirs[1]


def test_a_key_open_to_others_is_refused(irosh: Irosh) -> None:
    key_file = Path(irosh.call("identity", "show")["key_file"])
    key_file.chmod(0o644)
    error = irosh.failure("identity", "show")
    assert error["code"] == "key-unsafe"
    assert error["hint"] == f"chmod 600 {key_file}"


def test_export_has_this_machine_and_all_peers_but_blocked_ones(irosh: Irosh) -> None:
    irosh.call("peer", "add", OTHER.id, "--name", "other")
    irosh.call("peer", "block", Identity.from_secret(b"\x08" * 32).id)
    own = irosh.call("identity", "show")["id"]
    exported = irosh.call("identity", "export-ssh")
    assert exported["known_hosts"] == [
        f"{socket.gethostname()} {openssh_public_key_of(own)}",
        f"other {openssh_public_key_of(OTHER.id)}",
    ]
    assert exported["public_key"].startswith(openssh_public_key_of(own))
    assert irosh.run("identity", "export-ssh").stdout.decode().splitlines() == exported["known_hosts"]
    authorized = irosh.run("identity", "export-ssh", "--authorized-key").stdout.decode()
    assert authorized == f"{exported['public_key']}\n"


def test_export_of_names(irosh: Irosh) -> None:
    irosh.call("peer", "add", OTHER.id, "--name", "Other")
    stranger = Identity.from_secret(b"\x09" * 32).id
    key = openssh_public_key_of(OTHER.id)
    for name, line in {
        "Other": f"Other {key}",
        "other": f"other {key}",
        OTHER.id[:12]: f"{OTHER.id[:12]} {key}",
        stranger: f"{stranger} {openssh_public_key_of(stranger)}",
    }.items():
        assert irosh.call("identity", "export-ssh", name)["known_hosts"] == [line]
    assert irosh.failure("identity", "export-ssh", "another")["code"] == "unknown-target"
    assert irosh.failure("identity", "export-ssh", "z" * 64)["code"] == "unknown-target"


def test_rotation_keeps_the_old_key(irosh: Irosh) -> None:
    old = irosh.call("identity", "show")
    done = irosh.run("identity", "rotate", "--yes")
    assert done.returncode == 0, done.stderr
    new = irosh.call("identity", "show")
    assert new["id"] != old["id"]
    assert new["id"] in done.stdout.decode()
    assert b"invited again" in done.stdout
    [backup] = irosh.state.glob("identity.key.old-*")
    assert load_identity(backup).id == old["id"]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    [entry] = irosh.call("audit")["entries"]
    assert (entry["event"], entry["detail"]) == ("identity-rotate", f"{old['id']} -> {new['id']}")


def test_rotation_with_json_does_not_ask(irosh: Irosh) -> None:
    old = irosh.call("identity", "show")["id"]
    rotated = irosh.call("identity", "rotate")
    assert rotated["old_id"] == old
    assert load_identity(Path(rotated["old_key_file"])).id == old
    assert load_identity(Path(rotated["key_file"])).id == rotated["id"]


def test_rotation_is_refused_while_the_node_runs(irosh: Irosh) -> None:
    with irosh.host():
        before = irosh.call("identity", "show")
        assert irosh.failure("identity", "rotate", "--yes")["code"] == "state-in-use"
        assert irosh.call("identity", "show") == before


def test_rotation_needs_an_identity(irosh: Irosh) -> None:
    assert irosh.failure("identity", "rotate", "--yes")["code"] == "key-invalid"
    assert not (irosh.state / "identity.key").exists()


def test_rotation_without_a_terminal_needs_yes(irosh: Irosh) -> None:
    before = irosh.call("identity", "show")
    done = irosh.run("identity", "rotate")
    assert done.returncode == 2
    assert b"--yes" in done.stderr
    assert irosh.call("identity", "show") == before


@pytest.mark.parametrize(("answer", "status", "changed"), [(b"y\n", 0, True), (b"n\n", 1, False), (b"\n", 1, False)])
def test_rotation_asks_at_a_terminal(irosh: Irosh, answer: bytes, status: int, changed: bool) -> None:
    before = irosh.call("identity", "show")["id"]
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as keyboard, os.fdopen(theirs, "rb") as terminal:
        keyboard.write(answer)
        done = irosh.run("identity", "rotate", stdin=terminal)
    assert done.returncode == status
    said = done.stderr.decode()
    assert before in said
    assert "Replace the key? [y/N]" in said
    assert ("nothing was changed" in said) is not changed
    assert (irosh.call("identity", "show")["id"] != before) is changed


@requires("ssh-keygen")
def test_openssh_reads_the_exported_lines(irosh: Irosh, tmp_path: Path) -> None:
    irosh.call("peer", "add", OTHER.id, "--name", "Other")
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_bytes(irosh.run("identity", "export-ssh").stdout)
    found: subprocess.CompletedProcess[bytes] = LOCAL.run("ssh-keygen", "-F", "other", "-f", str(known_hosts))
    assert openssh_public_key_of(OTHER.id).encode() in found.stdout
