"""SSH user certificates, made by the real ``ssh-keygen``, and what is refused of them."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.ssh_certificate import KIND, Certificate, certificate_blob, parse_certificate, terms_of
from irosh.core.ssh_wire import string
from irosh.core.terms import Terms
from tests.lab.soft_authenticator import SoftAuthenticator
from tests.support.certificates import CertificateMaker
from tests.support.soft_key import SoftKey

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")

GRANTED = parse_capabilities(["shell", "exec", "files", "forward:tcp://127.0.0.0/8:*", "user:root"])


@pytest.fixture
def maker(tmp_path: Path) -> CertificateMaker:
    return CertificateMaker(tmp_path)


def made(maker: CertificateMaker, *options: str, principals: str = "alice") -> Certificate:
    return parse_certificate(maker.certificate(Identity.generate(), *options, principals=principals))


def terms(
    certificate: Certificate, *, principals: str | None = None, own_user: str = "alice", now: float | None = None
) -> Terms:
    moment = time.time() if now is None else now
    return terms_of(certificate, GRANTED, principals=principals, own_user=own_user, now=moment)


def refusal(*arguments: object, **others: object) -> str:
    with pytest.raises(IroshError) as caught:
        terms(*arguments, **others)  # type: ignore[arg-type]
    assert caught.value.code is ErrorCode.CERTIFICATE_INVALID
    return caught.value.message


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_certificate_by_each_kind_of_authority(tmp_path: Path, kind: str) -> None:
    maker = CertificateMaker(tmp_path, kind)
    identity = Identity.generate()
    blob = maker.certificate(identity, "-z", "42", "-V", "-1h:+1d", key_id="laptop of alice", principals="alice,ops")
    found = parse_certificate(blob)
    assert found.public == bytes.fromhex(identity.id)
    assert (found.serial, found.key_id, found.principals) == (42, "laptop of alice", ("alice", "ops"))
    assert found.valid_before is not None
    assert found.valid_after < time.time() < found.valid_before
    assert base64.b64encode(found.authority).decode() == maker.public_line.split()[1]


def test_a_certificate_by_an_authority_on_a_security_key(tmp_path: Path) -> None:
    """OpenSSH signs; the key is software in the place of an authenticator."""
    (tmp_path / "provider").mkdir()
    environment = SoftAuthenticator(tmp_path / "provider").environment
    maker = CertificateMaker(tmp_path, "ed25519-sk", environment=environment)
    identity = Identity.generate()
    blob = maker.certificate(identity, "-z", "42", principals="alice")
    found = parse_certificate(blob)
    assert (found.public, found.serial) == (bytes.fromhex(identity.id), 42)
    assert base64.b64encode(found.authority).decode() == maker.public_line.split()[1]
    for place in (60, len(blob) - 90, len(blob) - 2):  # what is signed, the signature, its counter
        spoiled = blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]
        assert "signature" in bad(spoiled)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_security_keys_signature_by_another_hand(kind: Literal["ed25519", "ecdsa"]) -> None:
    """Made by what PROTOCOL.certkeys and PROTOCOL.u2f say."""
    key, identity = SoftKey(kind), Identity.generate()
    fields = [string(KIND.encode()), string(b"nonce"), string(bytes.fromhex(identity.id)), (7).to_bytes(8, "big")]
    fields += [(1).to_bytes(4, "big"), string(b"id"), string(string(b"alice")), bytes(8), b"\xff" * 8]
    fields += [string(b""), string(string(b"permit-pty") + string(b"")), string(b""), string(key.public.blob)]
    signed = b"".join(fields)
    found = parse_certificate(signed + string(key.sign(signed)))
    assert (found.serial, found.principals, found.valid_before) == (7, ("alice",), None)
    assert found.extensions == {"permit-pty"}
    assert "signature" in bad(signed + string(SoftKey(kind).sign(signed)))
    assert "signature" in bad(signed + string(key.sign(signed + b"x")))


def test_what_extensions_and_options_give(maker: CertificateMaker) -> None:
    found = terms(made(maker))
    assert set(map(str, found.capabilities)) == {"shell", "exec", "files", "forward:tcp://127.0.0.0/8:*", "user:alice"}
    assert found.pty
    assert found.own_account
    bare = terms(made(maker, "-O", "clear"))
    assert set(map(str, bare.capabilities)) == {"shell", "exec", "files", "user:alice"}
    assert not bare.pty
    forced = terms(made(maker, "-O", "force-command=uptime", "-O", "source-address=10.0.0.0/8,192.0.2.7"))
    assert forced.command == "uptime"
    assert "files" not in map(str, forced.capabilities)
    assert forced.from_here("10.1.1.1")
    assert forced.from_here("192.0.2.7")
    assert not forced.from_here("192.0.2.8")
    assert not forced.from_here(None)


def test_who_may_act_as_whom(maker: CertificateMaker) -> None:
    certificate = made(maker, principals="alice,ops-eu,not a user")
    assert "it is for 'alice', 'ops-eu', 'not a user', not for 'root'" in refusal(certificate, own_user="root")
    assert "not for 'bob'" in refusal(certificate, principals="bob")
    by_pattern = terms(certificate, principals="ops-*", own_user="root")
    assert not by_pattern.own_account
    assert [str(each) for each in by_pattern.capabilities if each.kind == "user"] == ["user:ops-eu"]
    assert "names no principal" in refusal(parse_certificate(maker.certificate(Identity.generate(), principals=None)))


def test_when_it_is_valid(maker: CertificateMaker) -> None:
    certificate = made(maker, "-V", "20300101Z:20300102Z")
    assert certificate.valid_before is not None
    assert "not valid yet" in refusal(certificate)
    assert terms(certificate, now=certificate.valid_after).expires_at == certificate.valid_before
    assert "expired" in refusal(certificate, now=certificate.valid_before)
    assert made(maker, "-V", "always:forever").valid_before is None


def bad(blob: bytes) -> str:
    with pytest.raises(IroshError) as caught:
        parse_certificate(blob)
    assert caught.value.code is ErrorCode.CERTIFICATE_INVALID
    return caught.value.message


def test_what_is_no_user_certificate_of_an_identity(maker: CertificateMaker, tmp_path: Path) -> None:
    identity = Identity.generate()
    assert "it is a host's" in bad(maker.certificate(identity, "-h"))
    assert "critical option" in bad(maker.certificate(identity, "-O", "critical:unheard-of=1"))
    assert "critical option 'verify-required'" in bad(maker.certificate(identity, "-O", "verify-required"))
    assert "another kind of key" in bad(string(b"ssh-ed25519") + string(bytes(32)))
    assert bad(b"")
    assert bad(b"x" * 9000)
    rsa = CertificateMaker(tmp_path / "rsa", "rsa")
    assert "SHA-1" in bad(rsa.certificate(identity, "-t", "ssh-rsa"))
    small = CertificateMaker(tmp_path / "small", "rsa", bits=1024)
    assert "too small" in bad(small.certificate(identity))


def test_every_changed_byte_is_noticed(maker: CertificateMaker) -> None:
    blob = maker.certificate(Identity.generate(), "-O", "force-command=uptime")
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1
        with pytest.raises(IroshError):
            parse_certificate(bytes(changed))
    for end in range(0, len(blob), 7):
        bad(blob[:end])
    bad(blob + b"\0")


@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    bad(string(KIND.encode()) + data)


def test_a_line_of_a_file(maker: CertificateMaker) -> None:
    blob = maker.certificate(Identity.generate())
    line = f"{KIND} {base64.b64encode(blob).decode()} comment\n"
    assert certificate_blob(line) == blob
    for wrong in ("", "ssh-ed25519 AAAA", f"{KIND} !", KIND):
        with pytest.raises(IroshError):
            certificate_blob(wrong)


def test_ssh_keygen_says_the_same(maker: CertificateMaker, tmp_path: Path) -> None:
    blob = maker.certificate(Identity.generate(), "-z", "7", "-O", "clear", "-O", "permit-pty")
    file = tmp_path / "shown-cert.pub"
    file.write_text(f"{KIND} {base64.b64encode(blob).decode()}\n")
    shown = subprocess.run(["ssh-keygen", "-Lf", str(file)], capture_output=True, text=True, check=True).stdout
    found = parse_certificate(blob)
    assert f"Serial: {found.serial}" in shown
    assert f'Key ID: "{found.key_id}"' in shown
    assert found.extensions == {"permit-pty"}
