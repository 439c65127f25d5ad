"""Identities that are no peers: let in by ``authorized_keys`` or a certificate, and held to what these say."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from irosh.assembly import NodeOptions, assembled_node
from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.network_choice import NetworkChoice
from irosh.core.ssh_certificate import parse_certificate
from irosh.core.terms import Terms
from irosh.core.trust import TrustStore
from irosh.core.wire import PROTOCOL_VERSION, Hello, StreamAnswer, StreamHeader, Welcome, encode_request, error_in
from irosh.node.actions import Join
from irosh.node.node import Node, own_user
from irosh.node.warrants import Warrants, WarrantSettings, fingerprint
from irosh.services.files.transfer.messages import FilesRequest
from irosh.services.shell.messages import ShellRequest
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection, StreamReset
from irosh.transport.interfaces import Path as NetworkPath
from tests.support.certificates import CertificateMaker
from tests.support.nodes import DEADLINE, bare_endpoint, open_foreign_stream

SERVER = "tcp://127.0.0.1:9"
SHELL = ("shell", ShellRequest(key_auth=True))


@asynccontextmanager
async def host_with(tmp_path: Path, lines: str = "") -> AsyncIterator[tuple[Node, Path]]:
    """A host with an ``authorized_keys`` file, and the file."""
    keys = tmp_path / "keys"
    keys.write_text(lines)
    keys.chmod(0o600)
    options = NodeOptions(
        state=tmp_path / "host",
        hosting=True,
        network=NetworkChoice(relays=(), bind="127.0.0.1:0"),
        authorized_keys=keys,
    )
    async with assembled_node(options) as node, asyncio.timeout(DEADLINE):
        ready = asyncio.Event()
        serving = asyncio.create_task(node.run(ready.set))
        await ready.wait()
        yield node, keys
        node.stop()
        await serving


@dataclass
class Caller:
    """An admitted identity."""

    connection: Connection
    control: CarrierStream

    async def ask(self, service: str, request: msgspec.Struct) -> ErrorCode | None:
        """What the host answers to a stream."""
        stream = await open_foreign_stream(self.connection)
        await write_frame(stream, StreamHeader(service, encode_request(request)))
        error = error_in(await read_frame(stream, StreamAnswer, deadline=DEADLINE))
        return None if error is None else error.code

    async def reaches(self, source: str) -> ErrorCode | None:
        """Whether a tunnel there would be allowed."""
        return await self.ask("tunnel", TunnelRequest(source, probe=True))


@asynccontextmanager
async def call(host: Node, identity: Identity, certificate: bytes = b"") -> AsyncIterator[Caller | ErrorCode]:
    """Connect and greet, from a loopback address of the engine's choice: the caller, or why it was turned away."""
    async with bare_endpoint(identity) as endpoint:
        connection = await endpoint.connect(host.modes.contact().route())
        control = await connection.open_stream()
        await write_frame(control, Hello(PROTOCOL_VERSION, certificate=certificate))
        try:
            await read_frame(control, Welcome, deadline=DEADLINE)
        except (StreamReset, IroshError):
            yield (await connection.wait_closed()).code
            return
        yield Caller(connection, control)


def key(identity: Identity) -> str:
    return identity.openssh_public_key("laptop of alice")


# authorized_keys


def test_a_key_in_the_file_gets_in_and_no_other(tmp_path: Path) -> None:
    async def test() -> None:
        friend = Identity.generate()
        async with host_with(tmp_path, f"{key(friend)}\n") as (host, _):
            async with call(host, friend) as caller:
                assert isinstance(caller, Caller)
                assert await caller.ask(*SHELL) is None
                assert await caller.reaches(SERVER) is None
                peer = host.trust.get(friend.id)
                assert peer is not None
                assert (peer.origin, peer.petname, peer.capabilities) == ("authorized-keys", "laptop-of-alice", ())
            async with call(host, Identity.generate()) as refused:
                assert refused is ErrorCode.UNKNOWN_PEER

    asyncio.run(test())


def test_a_changed_file_holds_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        friend = Identity.generate()
        async with host_with(tmp_path, f"{key(friend)}\n") as (host, keys), call(host, friend) as caller:
            assert isinstance(caller, Caller)
            assert await caller.reaches(SERVER) is None
            keys.write_text(f"restrict {key(friend)}\n")
            assert await caller.reaches(SERVER) is ErrorCode.DENIED
            assert await caller.ask(*SHELL) is None
            keys.write_text("")
            assert await caller.ask(*SHELL) is ErrorCode.DENIED
            async with call(host, friend) as refused:
                assert refused is ErrorCode.UNKNOWN_PEER
            keys.write_text(f"{key(friend)}\n")
            assert await caller.ask(*SHELL) is None
            keys.chmod(0o666)  # others could have written it
            assert await caller.ask(*SHELL) is ErrorCode.DENIED

    asyncio.run(test())


def test_a_file_that_others_can_write_stops_the_host_at_its_start(tmp_path: Path) -> None:
    async def test() -> None:
        keys = tmp_path / "keys"
        keys.touch(mode=0o666)
        keys.chmod(0o666)
        options = NodeOptions(state=tmp_path / "host", hosting=True, authorized_keys=keys)
        with pytest.raises(IroshError) as caught:
            async with assembled_node(options):
                pass
        assert caught.value.code is ErrorCode.KEY_UNSAFE

    asyncio.run(test())


@pytest.mark.parametrize(
    ("options", "source", "answer"),
    [
        ('permitopen="127.0.0.1:9" ', SERVER, None),
        ('permitopen="127.0.0.1:10" ', SERVER, ErrorCode.DENIED),
        ('permitopen="localhost:9" ', SERVER, None),
        ("no-port-forwarding ", SERVER, ErrorCode.DENIED),
        ("restrict,port-forwarding ", SERVER, None),
        ('from="127.0.0.0/8,::1" ', SERVER, None),
        ('from="*" ', SERVER, None),
        ('from="10.0.0.0/8" ', SERVER, ErrorCode.DENIED),
        ('from="*,!127.0.0.1,!::1" ', SERVER, ErrorCode.DENIED),
        ('expiry-time="20990101" ', SERVER, None),
    ],
)
def test_options_are_enforced(tmp_path: Path, options: str, source: str, answer: ErrorCode | None) -> None:
    async def test() -> None:
        friend = Identity.generate()
        async with host_with(tmp_path, f"{options}{key(friend)}\n") as (host, _), call(host, friend) as caller:
            assert isinstance(caller, Caller)
            assert await caller.reaches(source) is answer

    asyncio.run(test())


@pytest.mark.parametrize("options", ['expiry-time="20200101" ', "no-such-option ", "cert-authority "])
def test_lines_that_let_nobody_in(tmp_path: Path, options: str) -> None:
    async def test() -> None:
        friend = Identity.generate()
        async with host_with(tmp_path, f"{options}{key(friend)}\n") as (host, _), call(host, friend) as refused:
            assert refused is ErrorCode.UNKNOWN_PEER

    asyncio.run(test())


def test_the_trust_store_goes_before_the_file(tmp_path: Path) -> None:
    async def test() -> None:
        blocked, pinned = Identity.generate(), Identity.generate()
        async with host_with(tmp_path, f"{key(blocked)}\nrestrict {key(pinned)}\n") as (host, _):
            host.trust.block(blocked.id)
            granted = parse_capabilities(["forward:tcp://127.0.0.1:9"])
            host.trust.pin(pinned.id, petname="pinned", origin="manual", capabilities=granted)
            async with call(host, blocked) as refused:
                assert refused is ErrorCode.BLOCKED
            async with call(host, pinned) as caller:
                assert isinstance(caller, Caller)
                assert await caller.reaches(SERVER) is None

    asyncio.run(test())


def test_an_invitation_to_a_shared_session_comes_on_top(tmp_path: Path) -> None:
    """It neither ends what the file gives, nor what the file holds the peer to; and it holds without the file."""

    async def test() -> None:
        friend, session = Identity.generate(), "0" * 32
        line = f'command="true" {key(friend)}\n'
        async with host_with(tmp_path, line) as (host, keys), call(host, friend) as caller:
            assert isinstance(caller, Caller)
            invitation = parse_capabilities([f"join:{session}"])
            host.trust.pin(friend.id, petname=None, origin="invite", capabilities=invitation)
            assert await caller.reaches(SERVER) is None
            assert await caller.ask("files", FilesRequest()) is ErrorCode.DENIED
            assert host.authorizer.permits(friend.id, Join(session))
            assert not host.authorizer.permits(friend.id, Join("1" * 32))
            keys.write_text("")
            assert await caller.reaches(SERVER) is ErrorCode.DENIED
            assert host.authorizer.permits(friend.id, Join(session))
            keys.write_text(f'from="10.0.0.0/8" {key(friend)}\n')
            assert await caller.reaches(SERVER) is ErrorCode.DENIED
            assert host.authorizer.permits(friend.id, Join(session))
            keys.write_text(line)
            host.trust.set_capabilities(friend.id, ())  # the share is over
            assert await caller.reaches(SERVER) is None
            assert not host.authorizer.permits(friend.id, Join(session))

    asyncio.run(test())


def test_who_gets_in_by_the_file_must_give_what_the_configuration_requires(tmp_path: Path) -> None:
    state = tmp_path / "host"
    state.mkdir(mode=0o700)
    (state / "config.toml").write_text('[host]\nrequire = ["password"]\n')

    async def test() -> None:
        friend = Identity.generate()
        async with host_with(tmp_path, f"{key(friend)}\n") as (host, _), call(host, friend) as caller:
            assert isinstance(caller, Caller)
            assert await caller.reaches(SERVER) is ErrorCode.FACTOR_REQUIRED

    asyncio.run(test())


# revoked keys


@asynccontextmanager
async def host_that_refuses(tmp_path: Path, revoked: bytes, lines: str = "") -> AsyncIterator[tuple[Node, Path]]:
    """A host, and the file of what it does not take any more."""
    file, state = tmp_path / "revoked", tmp_path / "host"
    file.write_bytes(revoked)
    file.chmod(0o600)
    state.mkdir(mode=0o700)
    (state / "config.toml").write_text(f'[host]\nrevoked_keys = "{file}"\n')
    async with host_with(tmp_path, lines) as (host, _):
        yield host, file


def test_a_revoked_key_gets_nobody_in_whoever_vouches_for_it(tmp_path: Path) -> None:
    async def test() -> None:
        friend, peer, other = (Identity.generate() for _ in range(3))
        lines = f"{key(friend)}\n{key(other)}\n"
        async with host_that_refuses(tmp_path, f"# lost\n{key(friend)}\n".encode(), lines) as (host, file):
            host.trust.pin(peer.id, petname="peer", origin="manual", capabilities=parse_capabilities(["all"]))
            async with call(host, friend) as refused:
                assert refused is ErrorCode.REVOKED
            async with call(host, peer) as caller, call(host, other) as another:
                assert isinstance(caller, Caller)
                assert isinstance(another, Caller)
                assert await caller.reaches(SERVER) is await another.reaches(SERVER) is None
                file.write_text(f"{key(peer)}\n")  # a live session is served no further
                assert await caller.reaches(SERVER) is ErrorCode.REVOKED
                assert await another.reaches(SERVER) is None
                file.write_text("spoiled")  # now nobody knows who is in it
                assert await another.reaches(SERVER) is ErrorCode.REVOKED
                file.unlink()
                assert await another.reaches(SERVER) is ErrorCode.REVOKED
                async with call(host, other) as refused:
                    assert refused is ErrorCode.REVOKED
                file.write_text("")
                file.chmod(0o600)
                assert await caller.reaches(SERVER) is None

    asyncio.run(test())


@pytest.mark.parametrize("content", [None, b"no key\n", b"SSHKRL\n\0"])
def test_a_host_does_not_start_without_the_list_it_was_given(tmp_path: Path, content: bytes | None) -> None:
    async def test() -> None:
        async with host_that_refuses(tmp_path, b"") as (_, file):
            pass
        file.unlink()
        if content is not None:
            file.write_bytes(content)
            file.chmod(0o600)
        with pytest.raises(IroshError) as caught:
            async with assembled_node(NodeOptions(state=tmp_path / "host", hosting=True)):
                pass
        assert caught.value.code is ErrorCode.USAGE

    asyncio.run(test())


# certificates


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
                assert await caller.reaches(SERVER) is None
                await asyncio.sleep(2.5)
                assert await caller.reaches(SERVER) is ErrorCode.CERTIFICATE_INVALID
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


# what a relay hides


def path(remote: str, *, relayed: bool = False, selected: bool = True) -> NetworkPath:
    return NetworkPath(remote, relayed, selected, 0.0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("sources", "paths", "allowed"),
    [
        ("10.0.0.0/8", [path("10.0.0.1:9")], True),
        ("10.0.0.0/8", [path("[::ffff:10.0.0.1]:9")], True),
        ("2001:db8::/32", [path("[2001:db8::1]:9")], True),
        ("10.0.0.0/8", [path("10.0.0.1:9"), path("192.0.2.1:9", selected=False)], True),
        ("10.0.0.0/8", [path("10.0.0.1:9"), path("192.0.2.1:9")], False),  # one of several carriers
        ("10.0.0.0/8", [path("10.0.0.1:9", selected=False)], False),
        ("10.0.0.0/8", [], False),
        ("*", [path("https://relay.example", relayed=True)], False),
        ("*,relayed", [path("https://relay.example", relayed=True)], True),
        ("127.0.0.1", [path("127.0.0.1:9")], False),  # a TURN server may be behind it
    ],
)
def test_where_a_peer_comes_from(tmp_path: Path, sources: str, paths: list[NetworkPath], allowed: bool) -> None:
    friend = Identity.generate()
    keys = tmp_path / "keys"
    keys.write_text(f'from="{sources}" {key(friend)}\n')
    keys.chmod(0o600)
    with TrustStore(tmp_path / "irosh.db") as store:
        warrants = Warrants(store, WarrantSettings("me", (), keys=keys, loopback_is_relayed=lambda: True))
        if allowed:
            assert isinstance(warrants.terms(friend.id, None, paths), Terms)
        else:
            with pytest.raises(IroshError) as caught:
                warrants.terms(friend.id, None, paths)
            assert caught.value.code is ErrorCode.DENIED


@pytest.mark.parametrize(("found_after", "waits"), [(0.4, True), (None, True), (0.0, False)])
def test_a_direct_path_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found_after: float | None, waits: bool
) -> None:
    monkeypatch.setattr("irosh.node.warrants.DIRECT_DEADLINE", 1.0)
    friend = Identity.generate()
    keys = tmp_path / "keys"
    keys.write_text(f'from="10.0.0.0/8" {key(friend)}\n')
    keys.chmod(0o600)

    async def test() -> None:
        clock = asyncio.get_running_loop().time
        begun = clock()

        def paths() -> list[NetworkPath]:
            direct = found_after is not None and clock() - begun >= found_after
            return [path("10.0.0.1:9")] if direct else [path("https://relay.example", relayed=True)]

        with TrustStore(tmp_path / "irosh.db") as store:
            warrants = Warrants(store, WarrantSettings("me", (), keys=keys))
            await warrants.settled(friend.id, None, paths)
            took = clock() - begun
            assert (took >= 0.3) == waits
            assert took < 3
            await warrants.settled(Identity.generate().id, None, paths)  # nobody that is known
            assert clock() - begun - took < 0.1

    asyncio.run(test())
