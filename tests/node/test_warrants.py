"""Identities that are no peers: let in by ``authorized_keys``, held to what it says, or refused as revoked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from irosh.assembly import NodeOptions, assembled_node
from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.node.actions import Join
from irosh.services.files.transfer.messages import FilesRequest
from tests.support.warrant_host import SERVER, SHELL, Caller, call, host_that_refuses, host_with, key


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
