"""Who gets in: identities, invites and their misuse, against a real node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode
from irosh.core.identity import Identity
from irosh.core.wire import PROTOCOL_VERSION, Hello, StreamAnswer, Welcome, encode_frame
from irosh.node.node import Node
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import Connection, ConnectionLost
from tests.support.nodes import DEADLINE, bare_endpoint, greet, pin, running_node, say_hello


def _with_host(tmp_path: Path, test: Callable[[Node], Awaitable[None]]) -> None:
    async def body() -> None:
        async with running_node(tmp_path / "host") as host, asyncio.timeout(DEADLINE):
            await test(host)

    asyncio.run(body())


async def _refusal(connection: Connection) -> ErrorCode:
    return (await connection.wait_closed()).code


def test_an_unknown_peer_is_told_so(tmp_path: Path) -> None:
    async def test(host: Node) -> None:
        async with bare_endpoint() as stranger:
            connection = await greet(stranger, host.modes.contact().route())
            reason = await connection.wait_closed()
            assert reason.code is ErrorCode.UNKNOWN_PEER
            assert "invite" in reason.hint
        assert [(e.event, e.outcome) for e in host.trust.audit_log()] == [("connect", "refused")]

    _with_host(tmp_path, test)


def test_an_invite_pins_its_bearer_once(tmp_path: Path) -> None:
    async def test(host: Node) -> None:
        invite = host.trust.create_invite(parse_capabilities(["exec"]), uses=1)
        first, second = Identity.generate(), Identity.generate()
        async with bare_endpoint(first) as one, bare_endpoint(second) as two:
            connection = await one.connect(host.modes.contact().route())
            hello = await say_hello(connection, invite=invite)
            welcome = await read_frame(hello, Welcome, deadline=DEADLINE)
            assert welcome.version == PROTOCOL_VERSION
            peer = host.trust.get(first.id)
            assert peer is not None
            assert [str(capability) for capability in peer.capabilities] == ["exec"]
            assert peer.origin == "invite"

            assert (
                await _refusal(await greet(two, host.modes.contact().route(), invite=invite)) is ErrorCode.INVITE_USED
            )
            assert host.trust.get(second.id) is None

            # The ticket pasted again by its owner, and no ticket at all, are both fine.
            for again in (invite, None):
                connection = await one.connect(host.modes.contact().route())
                hello = await say_hello(connection, invite=again)
                await read_frame(hello, Welcome, deadline=DEADLINE)

    _with_host(tmp_path, test)


def test_a_new_peer_is_called_as_its_machine_calls_itself_but_never_as_another_peer(tmp_path: Path) -> None:
    async def test(host: Node) -> None:
        pin(host, Identity.generate(), "boss", ["all"])
        for suggested, name in (("laptop", "laptop"), ("BOSS", "boss-2"), ("irosh1\x1b[31m", None)):
            peer = Identity.generate()
            invite = host.trust.create_invite(parse_capabilities(["exec"]))
            async with bare_endpoint(peer) as endpoint:
                connection = await endpoint.connect(host.modes.contact().route())
                hello = await connection.open_stream()
                await write_frame(hello, Hello(PROTOCOL_VERSION, invite, suggested))
                await read_frame(hello, Welcome, deadline=DEADLINE)
            pinned = host.trust.get(peer.id)
            assert pinned is not None
            if name is None:
                assert pinned.petname.isprintable()
                assert not pinned.petname.startswith("irosh1")
            else:
                assert pinned.petname.lower() == name

    _with_host(tmp_path, test)


def test_expired_and_foreign_invites_are_refused(tmp_path: Path) -> None:
    async def test(host: Node) -> None:
        expired = host.trust.create_invite(parse_capabilities(["exec"]), lifetime=1e-6)
        async with bare_endpoint() as stranger:
            route = host.modes.contact().route()
            assert await _refusal(await greet(stranger, route, invite=expired)) is ErrorCode.INVITE_EXPIRED
            assert await _refusal(await greet(stranger, route, invite=b"0" * 16)) is ErrorCode.INVITE_INVALID
            assert await _refusal(await greet(stranger, route, invite=b"")) is ErrorCode.INVITE_INVALID

    _with_host(tmp_path, test)


def test_blocked_and_revoked_peers_stay_out_even_with_an_invite_for_the_blocked(tmp_path: Path) -> None:
    async def test(host: Node) -> None:
        blocked, revoked = Identity.generate(), Identity.generate()
        pin(host, blocked, "bad", ["all"])
        pin(host, revoked, "gone", ["all"])
        host.trust.block(blocked.id)
        host.trust.revoke(revoked.id)
        invite = host.trust.create_invite(parse_capabilities(["exec"]), uses=5)
        async with bare_endpoint(blocked) as bad, bare_endpoint(revoked) as gone:
            route = host.modes.contact().route()
            assert await _refusal(await greet(bad, route, invite=invite)) is ErrorCode.BLOCKED
            assert await _refusal(await greet(gone, route)) is ErrorCode.REVOKED

    _with_host(tmp_path, test)


@pytest.mark.parametrize(
    "first_bytes",
    [
        b"\x00\x00",  # an empty frame
        b"\xff\xff" + b"x" * 200,  # an oversize frame
        b"\x00\x05hello",  # not MessagePack of a Hello
        encode_frame(StreamAnswer()),  # another message
        encode_frame(Hello(99)),  # a version of the future
        b"\x00",  # ends inside the length
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_garbage_instead_of_a_hello_closes_with_a_reason(tmp_path: Path, first_bytes: bytes) -> None:
    async def test(host: Node) -> None:
        async with bare_endpoint() as stranger:
            connection = await stranger.connect(host.modes.contact().route())
            stream = await connection.open_stream()
            await stream.write(first_bytes)
            await stream.finish()
            assert await _refusal(connection) is ErrorCode.PROTOCOL

    _with_host(tmp_path, test)


def test_a_stranger_who_says_nothing_is_dropped_and_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irosh.node.greeting.HELLO_DEADLINE", 2.0)

    async def test(host: Node) -> None:
        friend = Identity.generate()
        pin(host, friend, "friend", ["exec"])
        async with bare_endpoint() as stranger, bare_endpoint(friend) as known:
            silent = [await stranger.connect(host.modes.contact().route()) for _ in range(5)]
            connection = await known.connect(host.modes.contact().route())
            hello = await say_hello(connection)
            await read_frame(hello, Welcome, deadline=DEADLINE)
            for each in silent:
                assert await _refusal(each) is ErrorCode.PROTOCOL

    _with_host(tmp_path, test)


def test_connections_of_one_peer_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("irosh.node.newcomers.MAX_CONNECTIONS_OF_ONE", 3)

    async def test(host: Node) -> None:
        peer = Identity.generate()
        pin(host, peer, "many", ["exec"])
        async with bare_endpoint(peer) as endpoint:
            connections = []
            for _ in range(4):
                connection = await endpoint.connect(host.modes.contact().route())
                hello = await say_hello(connection)
                with contextlib.suppress(ConnectionLost):
                    await read_frame(hello, Welcome, deadline=DEADLINE)
                connections.append(connection)
            *first_three, fourth = connections
            assert await _refusal(fourth) is ErrorCode.BUSY
            assert not any(connection.is_closed for connection in first_three)

    _with_host(tmp_path, test)
