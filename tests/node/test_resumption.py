"""Going on with a session: only its owner may, and sessions that wait stand in nobody's way."""

from __future__ import annotations

import asyncio
from pathlib import Path

from irosh.core.errors import ErrorCode
from irosh.core.wire import Resume, StreamAnswer, encode_frame
from irosh.node.newcomers import MAX_CONNECTIONS_OF_ONE
from irosh.node.node import Node
from irosh.node.peer_admin import PeerAdmin
from irosh.transport.session.frames import Live
from tests.support.echo_server import echo_server
from tests.support.peer_by_hand import claim, echoes, host, peer_of


def refusals(node: Node, event: str) -> list[str | None]:
    """Who was refused, according to the audit."""
    return [entry.peer_id for entry in node.trust.audit_log() if entry.event == event and entry.outcome == "refused"]


def test_the_owner_goes_on_where_it_was(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner, echo_server() as port:
            first, welcome = await owner.enter()
            stream = await first.open_tunnel(port, 0)
            await echoes(stream, b"before")
            got = len(encode_frame(StreamAnswer())) + 6
            first.connection.close(moved=True)
            await owner.sessions(lambda live, waiting: waiting == 1)
            second = await owner.visit(claim(welcome))
            assert (await second.welcome()).session == welcome.session
            await second.control.write(encode_frame(Live([0], complete=True)))
            again, answer = await second.resume_stream(0, got)
            assert answer.known
            await echoes(again, b"after")
            _, unknown = await second.resume_stream(2, 0)
            assert not unknown.known
            assert len(node.links.connections()) == 1

    asyncio.run(body())


def test_a_wrong_token_or_another_peer_with_the_right_one_gets_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            host(tmp_path) as node,
            peer_of(node, "owner") as owner,
            peer_of(node, "thief") as thief,
            echo_server() as port,
        ):
            visit, welcome = await owner.enter()
            stream = await visit.open_tunnel(port, 0)
            for token in (b"", bytes(32), welcome.token[:-1], welcome.token + b"x"):
                assert await owner.refused(Resume(welcome.session, token)) is ErrorCode.SESSION_UNKNOWN
            assert await owner.refused(Resume(b"", welcome.token)) is ErrorCode.SESSION_UNKNOWN
            assert await owner.refused(Resume(b"\xff" * 1000, b"\xff" * 1000)) is ErrorCode.SESSION_UNKNOWN
            assert await thief.refused(claim(welcome)) is ErrorCode.SESSION_UNKNOWN
            await echoes(stream)
            assert refusals(node, "resume") == [*[owner.endpoint.id] * 6, thief.endpoint.id]

    asyncio.run(body())


def test_a_session_that_has_ended_is_not_taken_up(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner:
            visit, welcome = await owner.enter()
            visit.connection.close()
            await owner.sessions(lambda live, waiting: live == 0)
            assert await owner.refused(claim(welcome)) is ErrorCode.SESSION_UNKNOWN

    asyncio.run(body())


def test_access_that_was_revoked_meanwhile_ends_the_session(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner:
            visit, welcome = await owner.enter()
            visit.connection.close(moved=True)
            await owner.sessions(lambda live, waiting: waiting == 1)
            PeerAdmin(node.trust, node.links.close_peer).revoke("owner")
            await owner.sessions(lambda live, waiting: live == 0)
            assert await owner.refused(claim(welcome)) is ErrorCode.REVOKED
            assert refusals(node, "connect") == [owner.endpoint.id]

    asyncio.run(body())


def test_a_node_that_begins_anew_ends_the_sessions_it_left(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner:
            left, welcome = await owner.enter(instance=b"first")
            left.connection.close(moved=True)
            await owner.sessions(lambda live, waiting: waiting == 1)
            await owner.enter(instance=b"second")
            await owner.sessions(lambda live, waiting: (live, waiting) == (1, 0))
            assert await owner.refused(claim(welcome)) is ErrorCode.SESSION_UNKNOWN

    asyncio.run(body())


def test_a_session_left_behind_does_not_wait_once_it_is_found_lost(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner:
            left, _ = await owner.enter(instance=b"first")
            kept, _ = await owner.enter(instance=b"second")
            await owner.sessions(lambda live, waiting: (live, waiting) == (2, 0))
            left.connection.close(moved=True)
            await owner.sessions(lambda live, waiting: (live, waiting) == (1, 0))
            kept.connection.close(moved=True)
            await owner.sessions(lambda live, waiting: (live, waiting) == (1, 1))

    asyncio.run(body())


def test_sessions_that_wait_make_place_and_those_that_work_do_not(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner:
            for _ in range(MAX_CONNECTIONS_OF_ONE):
                visit, _ = await owner.enter()
                visit.connection.close(moved=True)
            await owner.sessions(lambda live, waiting: waiting == MAX_CONNECTIONS_OF_ONE)
            kept = []
            for _ in range(MAX_CONNECTIONS_OF_ONE):
                kept.append(await owner.visit())
                await kept[-1].welcome()
            await owner.sessions(lambda live, waiting: (live, waiting) == (MAX_CONNECTIONS_OF_ONE, 0))
            assert await (await owner.visit()).refusal() is ErrorCode.BUSY
            assert not any(visit.connection.is_closed for visit in kept)

    asyncio.run(body())
