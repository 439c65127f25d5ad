"""Identities that are no peers: let in by a certificate, and held to what it says."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode
from irosh.core.identity import Identity
from irosh.core.ssh_certificate import parse_certificate
from irosh.node.node import Node, own_user
from irosh.node.warrants import fingerprint
from tests.support.certificates import CertificateMaker
from tests.support.warrant_host import SERVER, SHELL, Caller, call, host_that_refuses, host_with, key

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


@pytest.fixture
def maker(tmp_path: Path) -> CertificateMaker:
    return CertificateMaker(tmp_path / "ca")


def trust(host: Node, maker: CertificateMaker, *, principals: str | None = None, allow: str = "all") -> str:
    """Have ``host`` trust the authority; returns its fingerprint."""
    probe = parse_certificate(maker.certificate(Identity.generate()))
    name = fingerprint(probe.authority)
    host.trust.authorities.trust(name, maker.public_line, "ca", principals, parse_capabilities(allow.split()))
    return name


@needs_ssh_keygen
def test_a_certificate_lets_its_identity_in(tmp_path: Path, maker: CertificateMaker) -> None:
    async def test() -> None:
        friend = Identity.generate()
        certificate = maker.certificate(friend, key_id="alice@laptop", principals=own_user())
        async with host_with(tmp_path) as (host, _):
            async with call(host, friend, certificate) as refused:
                assert refused is ErrorCode.UNKNOWN_PEER  # the authority is not trusted
            trust(host, maker, allow="exec forward:tcp://127.0.0.1:*")
            async with call(host, friend, certificate) as caller:
                assert isinstance(caller, Caller)
                assert await caller.ask(*SHELL) is None
                assert await caller.reaches(SERVER) is None
                assert await caller.reaches("tcp://127.0.0.2:9") is ErrorCode.DENIED
                peer = host.trust.get(friend.id)
                assert peer is not None
                assert (peer.origin, peer.petname) == ("certificate", "alice-laptop")
            async with call(host, friend) as refused:  # it has to be shown each time
                assert refused is ErrorCode.UNKNOWN_PEER
            async with call(host, Identity.generate(), certificate) as refused:
                assert refused is ErrorCode.CERTIFICATE_INVALID

    asyncio.run(test())


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("options", "principals"),
    [(("-V", "-2d:-1d"), None), (("-V", "+1d:+2d"), None), (("-h",), None), ((), "nobody-here"), ((), "")],
)
def test_certificates_that_let_nobody_in(
    tmp_path: Path, maker: CertificateMaker, options: tuple[str, ...], principals: str | None
) -> None:
    async def test() -> None:
        friend = Identity.generate()
        names = own_user() if principals is None else principals or None
        async with host_with(tmp_path) as (host, _):
            trust(host, maker)
            async with call(host, friend, maker.certificate(friend, *options, principals=names)) as refused:
                assert refused is ErrorCode.CERTIFICATE_INVALID

    asyncio.run(test())


@needs_ssh_keygen
def test_an_expired_or_revoked_certificate_serves_no_further_streams(tmp_path: Path, maker: CertificateMaker) -> None:
    async def test() -> None:
        friend, other = Identity.generate(), Identity.generate()
        async with host_with(tmp_path) as (host, _):
            authority = trust(host, maker)
            short = maker.certificate(friend, "-V", "-1m:+2s", principals=own_user())
            async with call(host, friend, short) as caller:
                assert isinstance(caller, Caller)
                while (said := await caller.reaches(SERVER)) is None:
                    await asyncio.sleep(0.05)
                assert said is ErrorCode.CERTIFICATE_INVALID
            certificate = maker.certificate(other, "-z", "7", key_id="other", principals=own_user())
            async with call(host, other, certificate) as caller:
                assert isinstance(caller, Caller)
                assert await caller.reaches(SERVER) is None
                host.trust.authorities.revoke("serial", "8", authority)
                host.trust.authorities.revoke("key-id", "another", authority)
                assert await caller.reaches(SERVER) is None
                host.trust.authorities.revoke("serial", "7", authority)
                assert await caller.reaches(SERVER) is ErrorCode.CERTIFICATE_INVALID
                async with call(host, other, certificate) as refused:
                    assert refused is ErrorCode.CERTIFICATE_INVALID
            host.trust.authorities.remove(authority)
            async with call(host, other, certificate) as refused:
                assert refused is ErrorCode.CERTIFICATE_INVALID  # revoked stays revoked

    asyncio.run(test())


@needs_ssh_keygen
def test_a_krl_revokes_certificates_by_number(tmp_path: Path, maker: CertificateMaker) -> None:
    specification, krl = tmp_path / "specification", tmp_path / "krl"
    specification.write_text("serial: 5-9\n")
    command = ["ssh-keygen", "-q", "-k", "-f", str(krl), "-s", str(maker.public_file), str(specification)]
    subprocess.run(command, check=True)

    async def test() -> None:
        friend = Identity.generate()
        async with host_that_refuses(tmp_path, krl.read_bytes()) as (host, _):
            trust(host, maker)
            for serial, let_in in (("4", True), ("7", False)):
                async with call(host, friend, maker.certificate(friend, "-z", serial, principals=own_user())) as caller:
                    assert (caller is not ErrorCode.CERTIFICATE_INVALID) is let_in

    asyncio.run(test())


@needs_ssh_keygen
def test_what_the_certificate_says_is_enforced(tmp_path: Path, maker: CertificateMaker) -> None:
    async def test() -> None:
        me = own_user()
        cases: list[tuple[tuple[str, ...], ErrorCode | None]] = [
            ((), None),
            (("-O", "no-port-forwarding"), ErrorCode.DENIED),
            (("-O", "source-address=127.0.0.0/8,::1/128"), None),
            (("-O", "source-address=10.0.0.0/8"), ErrorCode.DENIED),
        ]
        async with host_with(tmp_path) as (host, _):
            trust(host, maker)
            for options, answer in cases:
                friend = Identity.generate()
                async with call(host, friend, maker.certificate(friend, *options, principals=me)) as caller:
                    assert isinstance(caller, Caller)
                    assert await caller.reaches(SERVER) is answer, options

    asyncio.run(test())


@needs_ssh_keygen
def test_malformed_certificates_close_the_connection_or_do_not_matter(tmp_path: Path, maker: CertificateMaker) -> None:
    async def test() -> None:
        friend, stranger = Identity.generate(), Identity.generate()
        good = maker.certificate(stranger, principals=own_user())
        async with host_with(tmp_path, f"{key(friend)}\n") as (host, _):
            trust(host, maker)
            for garbage in (b"\0", good[:-1], good + b"\0", b"\xff" * 8000, good[:40] + b"\xff" * 4 + good[44:]):
                async with call(host, stranger, garbage) as refused:
                    assert refused is ErrorCode.CERTIFICATE_INVALID
                async with call(host, friend, garbage) as caller:
                    assert isinstance(caller, Caller)
            async with call(host, stranger, good) as caller:
                assert isinstance(caller, Caller)

    asyncio.run(test())


@needs_ssh_keygen
def test_an_authority_of_the_file(tmp_path: Path, maker: CertificateMaker) -> None:
    async def test() -> None:
        friend = Identity.generate()
        certificate = maker.certificate(friend, principals="ops-eu")
        async with host_with(tmp_path, f"cert-authority {maker.public_line}\n") as (host, keys):
            async with call(host, friend, certificate) as refused:
                assert refused is ErrorCode.CERTIFICATE_INVALID  # it is not for this user
            keys.write_text(f'cert-authority,principals="ops-*",permitopen="127.0.0.1:9" {maker.public_line}\n')
            async with call(host, friend, certificate) as caller:
                assert isinstance(caller, Caller)
                assert await caller.reaches(SERVER) is None
                assert await caller.reaches("tcp://127.0.0.1:10") is ErrorCode.DENIED

    asyncio.run(test())
