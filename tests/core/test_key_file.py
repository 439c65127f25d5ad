"""The file of the identity: work with OpenSSH, refusal of unsafe files, creation and rotation."""

from __future__ import annotations

import base64
import errno
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core import ssh_key
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import (
    Identity,
    create_identity,
    load_identity,
    load_or_create_identity,
    openssh_public_key_of,
    rotate_identity,
)
from tests.support import scripts
from tests.support.system import needs_root

SSH_KEYGEN = shutil.which("ssh-keygen")
needs_ssh_keygen = pytest.mark.skipif(SSH_KEYGEN is None, reason="ssh-keygen is not installed")

seeds = st.binary(min_size=32, max_size=32)


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    return tmp_path / "identity.key"


def write_key(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def ssh_keygen(*arguments: str) -> str:
    assert SSH_KEYGEN is not None
    return subprocess.run([SSH_KEYGEN, *arguments], check=True, capture_output=True, text=True).stdout


def refused(path: Path) -> IroshError:
    with pytest.raises(IroshError) as caught:
        load_identity(path)
    # Whatever is wrong, an existing file must never be taken for a missing one and written over.
    with pytest.raises(IroshError):
        load_or_create_identity(path)
    assert str(path) in caught.value.message
    return caught.value


# --- OpenSSH formats


@given(seeds, st.text(max_size=30))
def test_the_private_key_format_round_trips(seed: bytes, comment: str) -> None:
    public = Identity.from_secret(seed).public
    comment = comment.encode(errors="replace").decode()
    assert ssh_key.decode_private_key(ssh_key.encode_private_key(seed, public, comment)) == (seed, public)


@given(st.binary(max_size=400), st.integers(0, 300), st.binary(max_size=4))
def test_arbitrary_private_key_files_raise_nothing_else(junk: bytes, at: int, patch: bytes) -> None:
    good = base64.b64decode(b"".join(Identity(bytes(32)).openssh_private_key().splitlines()[1:-1]))
    for blob in (junk, good[:at], good[:at] + patch + good[at + len(patch) :], b"openssh-key-v1\0" + junk):
        pem = b"-----BEGIN OPENSSH PRIVATE KEY-----\n%s\n-----END OPENSSH PRIVATE KEY-----\n"
        for content in (blob, pem % base64.b64encode(blob), pem % blob):
            try:
                seed, public = ssh_key.decode_private_key(content)
            except ssh_key.SshKeyError:
                continue
            assert (len(seed), len(public)) == (32, 32)


def test_asyncssh_reads_the_private_and_the_public_key() -> None:
    identity = Identity.generate()
    key = asyncssh.import_private_key(identity.openssh_private_key())
    line = identity.openssh_public_key("me@here")
    public = asyncssh.import_public_key(line)
    assert key.public_data == public.public_data == ssh_key.public_key_blob(identity.public)
    assert public.get_comment() == "me@here"
    assert openssh_public_key_of(identity.id) == line.removesuffix(" me@here")


def test_a_comment_cannot_become_a_line_of_its_own() -> None:
    line = Identity.generate().openssh_public_key("a\nssh-ed25519 AAAA\r\x1b[2J\0 b")
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    with pytest.raises(IroshError):
        openssh_public_key_of("not an id")


@needs_ssh_keygen
def test_ssh_keygen_reads_the_key_file(key_path: Path) -> None:
    identity = create_identity(key_path)
    assert ssh_keygen("-y", "-f", str(key_path)).split()[:2] == identity.openssh_public_key("").split()
    public_path = key_path.with_suffix(".pub")
    public_path.write_text(identity.openssh_public_key("irosh") + "\n")
    fingerprint = ssh_keygen("-l", "-f", str(public_path))
    assert fingerprint.startswith("256 SHA256:")
    assert fingerprint.rstrip().endswith("irosh (ED25519)")
    assert ssh_keygen("-l", "-f", str(key_path)).split()[1] == fingerprint.split()[1]


@needs_ssh_keygen
def test_a_key_made_by_ssh_keygen_becomes_an_identity(key_path: Path) -> None:
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", "someone@somewhere", "-f", str(key_path))
    identity = load_identity(key_path)
    assert identity.openssh_public_key("someone@somewhere") == key_path.with_name(
        "identity.key.pub"
    ).read_text().rstrip("\n")


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["-t", "ed25519", "-N", "secret words"], "passphrase"),
        (["-t", "ecdsa", "-N", ""], "ecdsa-sha2-nistp256"),
        (["-t", "ecdsa", "-m", "PEM", "-N", ""], "not an OpenSSH private key"),
    ],
)
def test_other_keys_of_ssh_keygen_are_refused(key_path: Path, options: list[str], problem: str) -> None:
    ssh_keygen("-q", *options, "-f", str(key_path))
    error = refused(key_path)
    assert error.code == ErrorCode.KEY_INVALID
    assert problem in error.message
    assert ("ssh-keygen -p" in error.hint) == (problem == "passphrase")


# --- the key file


def test_a_key_file_is_created_private_whatever_the_umask_and_read_again(key_path: Path) -> None:
    before = os.umask(0)
    try:
        identity = create_identity(key_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert load_identity(key_path) == identity
    assert load_identity(key_path).secret == identity.secret
    assert os.listdir(key_path.parent) == ["identity.key"]


def test_an_existing_key_is_never_overwritten(key_path: Path) -> None:
    identity = create_identity(key_path)
    content = key_path.read_bytes()
    assert create_identity(key_path) == load_or_create_identity(key_path) == identity
    assert key_path.read_bytes() == content


def test_without_hard_links_creation_is_still_exclusive(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    identity = create_identity(key_path)
    assert create_identity(key_path) == load_identity(key_path) == identity
    assert os.listdir(key_path.parent) == ["identity.key"]


def test_processes_creating_at_once_end_with_one_key(key_path: Path) -> None:
    script = """
        from irosh.core.identity import create_identity
        import cryptography.hazmat.primitives.asymmetric.ed25519
        wait_for_go()
        print(create_identity(path).id)
    """
    ids = set(scripts.race(script, key_path, [()] * 6))
    assert ids == {load_identity(key_path).id}
    assert os.listdir(key_path.parent) == ["identity.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o610, 0o777])
def test_a_key_open_to_others_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "my state" / "identity.key"
    path.parent.mkdir()
    identity = create_identity(path)
    path.chmod(mode)
    error = refused(path)
    assert error.code == ErrorCode.KEY_UNSAFE
    assert f"{mode:04o}" in error.message
    subprocess.run(shlex.split(error.hint), check=True)
    assert load_identity(path) == identity


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_for_the_owner_alone_is_accepted(key_path: Path, mode: int) -> None:
    identity = create_identity(key_path)
    key_path.chmod(mode)
    assert load_identity(key_path) == identity


@needs_root
def test_another_users_key_is_refused_but_root_may_use_any(unprivileged: Path) -> None:
    path = unprivileged / "identity.key"
    identity = create_identity(path)
    assert load_identity(path) == identity
    os.seteuid(0)
    assert load_identity(path) == identity
    os.chown(path, 65533, 65533)
    os.seteuid(65534)
    error = refused(path)  # its mode keeps everyone out
    assert error.code == ErrorCode.STATE_UNUSABLE
    os.seteuid(0)
    path.chmod(0o644)
    os.seteuid(65534)
    error = refused(path)
    assert error.code == ErrorCode.KEY_UNSAFE
    assert "another user (uid 65533)" in error.message


def test_a_symbolic_link_is_refused(tmp_path: Path, key_path: Path) -> None:
    create_identity(tmp_path / "elsewhere")
    for target in ("elsewhere", "nowhere", "identity.key"):
        key_path.symlink_to(target)
        error = refused(key_path)
        assert error.code == ErrorCode.KEY_UNSAFE
        assert "symbolic link" in error.message
        key_path.unlink()
    assert not (tmp_path / "nowhere").exists()


def test_what_is_not_a_file_is_refused_without_waiting(key_path: Path) -> None:
    key_path.mkdir()
    assert "is a directory" in refused(key_path).message
    key_path.rmdir()
    os.mkfifo(key_path, 0o600)
    error = refused(key_path)
    assert error.code == ErrorCode.KEY_INVALID
    assert "not a regular file" in error.message


def test_a_missing_key_is_reported(key_path: Path) -> None:
    with pytest.raises(IroshError) as caught:
        load_identity(key_path)
    assert caught.value.code == ErrorCode.KEY_INVALID
    assert "no identity key" in caught.value.message


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"hello\n", "not an OpenSSH private key"),
        (b"\xff" * 100, "not an OpenSSH private key"),
        (b"x" * 20_000, "too large"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----", "cut short"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n!!\n-----END OPENSSH PRIVATE KEY-----", "not base64"),
        (
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
            "no openssh-key-v1",
        ),
    ],
)
def test_damaged_key_files_are_refused_with_the_reason(key_path: Path, content: bytes, problem: str) -> None:
    write_key(key_path, content)
    error = refused(key_path)
    assert error.code == ErrorCode.KEY_INVALID
    assert problem in error.message
    assert key_path.read_bytes() == content


def test_every_truncation_of_a_key_file_is_refused(key_path: Path) -> None:
    whole = Identity.generate().openssh_private_key()
    for size in range(len(whole) - 1):  # all but the last newline
        write_key(key_path, whole[:size])
        assert refused(key_path).code == ErrorCode.KEY_INVALID


def test_halves_that_do_not_belong_together_are_refused(key_path: Path) -> None:
    one, two = Identity.generate(), Identity.generate()
    write_key(key_path, ssh_key.encode_private_key(one.secret, two.public))
    assert "do not belong together" in refused(key_path).message


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(IroshError) as caught:
        load_or_create_identity(tmp_path / "missing" / "identity.key")
    assert caught.value.code == ErrorCode.STATE_UNUSABLE


# --- rotation


def test_rotation_puts_a_new_key_in_place_and_keeps_the_old_one(key_path: Path) -> None:
    old = create_identity(key_path)
    new, backup = rotate_identity(key_path)
    assert new != old
    assert load_identity(key_path) == new
    assert load_identity(backup) == old
    assert re.fullmatch(r"identity\.key\.old-\d{8}T\d{6}Z", backup.name)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert backup.parent == key_path.parent


def test_rotations_within_one_second_keep_every_key(key_path: Path) -> None:
    identities = [create_identity(key_path)]
    backups = []
    for _ in range(4):
        new, backup = rotate_identity(key_path)
        identities.append(new)
        backups.append(backup)
    assert [load_identity(path) for path in [*backups, key_path]] == identities
    assert len(os.listdir(key_path.parent)) == 5


def test_a_failed_rotation_changes_nothing(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = create_identity(key_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(IroshError) as caught:
        rotate_identity(key_path)
    assert caught.value.code == ErrorCode.DISK_FULL
    assert load_identity(key_path) == old
    assert os.listdir(key_path.parent) == ["identity.key"]


def test_only_a_usable_key_can_be_rotated(key_path: Path) -> None:
    with pytest.raises(IroshError):
        rotate_identity(key_path)
    assert not key_path.exists()
    write_key(key_path, b"damaged")
    with pytest.raises(IroshError):
        rotate_identity(key_path)
    assert key_path.read_bytes() == b"damaged"
