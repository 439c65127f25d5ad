"""Identity and its key file: formats, work with OpenSSH, refusal of unsafe files, creation and rotation."""

from __future__ import annotations

import base64
import errno
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import assume, given
from hypothesis import strategies as st

from irosh.core import ssh_key
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import (
    Identity,
    create_identity,
    load_identity,
    load_or_create_identity,
    openssh_public_key_of,
    parse_endpoint_id,
    rotate_identity,
    short_id,
)

SSH_KEYGEN = shutil.which("ssh-keygen")
needs_ssh_keygen = pytest.mark.skipif(SSH_KEYGEN is None, reason="ssh-keygen is not installed")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to change the owner of a file")

# RFC 8032 section 7.1, tests 1 and 2: secret key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]

seeds = st.binary(min_size=32, max_size=32)


@pytest.fixture
def key_path(tmp_path: Path) -> Path:
    return tmp_path / "identity.key"


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A directory of an unprivileged user's, entered as that user (root only)."""
    user = 65534
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, user, user)
        os.seteuid(user)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


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


# --- the key pair


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_keys_and_signatures_are_those_of_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    identity = Identity.from_secret(bytes.fromhex(secret))
    assert identity.id == public
    assert identity.public == bytes.fromhex(public)
    assert identity.sign(bytes.fromhex(message)).hex() == signature


def test_generated_identities_differ_and_their_signatures_verify() -> None:
    one, two = Identity.generate(), Identity.generate()
    assert one != two
    assert one == Identity.from_secret(one.secret)
    Ed25519PublicKey.from_public_bytes(one.public).verify(one.sign(b"hello"), b"hello")
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(two.public).verify(one.sign(b"hello"), b"hello")


def test_repr_does_not_show_the_secret() -> None:
    identity = Identity.generate()
    for text in (repr(identity), str(identity), f"{identity!a}"):
        assert identity.id in text
        assert identity.secret.hex() not in text
        assert repr(identity.secret)[2:-1] not in text


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_secret_of_another_size_is_an_error(size: int) -> None:
    with pytest.raises(ValueError):
        Identity.from_secret(bytes(size))


def test_importing_the_core_modules_loads_nothing_heavy() -> None:
    code = """
import sys
import irosh.core.identity, irosh.core.ticket, irosh.core.state
heavy = {"cryptography", "hashlib", "asyncssh", "iroh", "msgspec", "asyncio", "socket", "platformdirs"}
print(sorted(heavy & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


# --- endpoint ids


@given(seeds)
def test_every_public_key_is_read_from_hex_and_base32_in_either_case(seed: bytes) -> None:
    identity = Identity.from_secret(seed)
    base32 = base64.b32encode(identity.public).decode().rstrip("=")
    for text in (identity.id, identity.id.upper(), base32, base32.lower(), f" {identity.id}\n"):
        assert parse_endpoint_id(text) == identity.id
    assert identity.id.startswith(short_id(identity.id))
    assert len(short_id(identity.id)) == 10


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "0 characters"),
        ("ab" * 31, "62 characters"),
        ("ab" * 33, "66 characters"),
        ("d" * 63 + "x", "'x' at position 64"),
        ("\u0661" * 64, "position 1"),  # a digit, but not one of ours
        ("\u212a" * 52, "(position 1)"),
        ("a" * 51 + "1", "'1' (position 52)"),
        ("a" * 51 + "b", "position 52"),  # the last of 260 bits is set, of which only 256 are used
    ],
)
def test_what_is_no_endpoint_id_is_refused_with_the_reason(text: str, problem: str) -> None:
    with pytest.raises(IroshError, match=re.escape(problem)) as caught:
        parse_endpoint_id(text)
    assert caught.value.code == ErrorCode.UNKNOWN_TARGET
    assert caught.value.hint


# Points of order 1, 2, 4, 8 and 8; a y that is not below 2^255-19; "minus zero"; not on the curve at all.
BAD_POINTS = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "0200000000000000000000000000000000000000000000000000000000000000",
]


@pytest.mark.parametrize("text", BAD_POINTS)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(IroshError, match="no Ed25519 public key"):
        parse_endpoint_id(text)


@given(st.binary(min_size=32, max_size=32))
def test_on_curve_check_agrees_with_computing_x(encoding: bytes) -> None:
    """Decompression as RFC 8032 section 5.1.3 writes it, against the shortcut taken."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    y = int.from_bytes(encoding, "little") % 2**255
    assume(y not in (0, 1, p - 1))  # of small order, and tested above
    u, v = (y * y - 1) % p, (d * y * y + 1) % p
    x = u * pow(v, 3, p) * pow(u * pow(v, 7, p), (p - 5) // 8, p) % p
    on_curve = y < p and v * x * x % p in (u, -u % p)
    try:
        parse_endpoint_id(encoding.hex())
    except IroshError:
        assert not on_curve
    else:
        assert on_curve


@given(st.text(max_size=80))
def test_arbitrary_text_as_endpoint_id_raises_nothing_else(text: str) -> None:
    with pytest.raises(IroshError):
        parse_endpoint_id(text)


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
    code = (
        "import sys; from pathlib import Path; from irosh.core.identity import *\n"
        "import cryptography.hazmat.primitives.asymmetric.ed25519\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(create_identity(Path(sys.argv[1])).id)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(key_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ids = {process.communicate()[0].strip() for process in processes}
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
def test_another_users_key_is_refused_but_root_may_use_any(nobody: Path) -> None:
    path = nobody / "identity.key"
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
