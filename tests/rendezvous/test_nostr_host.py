"""What a host makes of requests: whom it serves, what it refuses, and what is left when they have gone.

The sessions are scripted, so that each can be held at any point; test_nostr.py has real ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import IceDescription
from irosh.core.identity import Identity
from irosh.core.nostr_signal import (
    Answer,
    Bye,
    Content,
    Parties,
    Refusal,
    Request,
    Signal,
    open_signal,
    seal,
)
from irosh.rendezvous import nostr_host
from irosh.rendezvous.interfaces import Hosting
from irosh.rendezvous.nostr_host import NostrHost, Receiver
from irosh.transport.interfaces import Connection
from tests.support.relay_client import DEADLINE, run, until

HOST = Identity.from_secret(b"h" * 32)
PEERS = [Identity.from_secret(bytes((number,)) * 32) for number in range(1, 13)]
ALICE, BOB = PEERS[:2]
STRANGER = Identity.from_secret(b"s" * 32)
KEYS = Parties(b"n" * 32, b"m" * 32)
INVITE = b"i" * 16


def description(identity: Identity) -> bytes:
    return IceDescription(identity.id, "ufrag", "p" * 24).encode()


class ScriptedConnection:
    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.moved = False

    def close(self, error: IroshError | None = None, *, moved: bool = False) -> None:
        self.moved = moved
        self.closed.set()

    async def wait_closed(self) -> IroshError:
        await self.closed.wait()
        return IroshError(ErrorCode.CONNECTION_LOST, "gone")


@dataclass
class ScriptedSession:
    """Joins when ``proceed`` is set; fails with ``failure`` if there is one."""

    proceed: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    connection: ScriptedConnection = field(default_factory=ScriptedConnection)
    closed: bool = False

    @property
    def description(self) -> IceDescription:
        return IceDescription(HOST.id, "ufrag", "p" * 24)

    async def stale(self) -> None:
        await asyncio.Event().wait()

    async def join(self, remote: IceDescription, *, patience: float = 0.0) -> Connection:
        await self.proceed.wait()
        if self.failure is not None:
            raise self.failure
        return cast("Connection", self.connection)

    async def wait_closed(self) -> None:
        await self.connection.wait_closed()

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed = True


@dataclass
class Stage:
    """A host, its sessions in the order they were made, and all it has sent."""

    host: NostrHost
    sessions: list[ScriptedSession]
    sent: list[tuple[Receiver, Content]]

    def request(self, identity: Identity, session: bytes = b"s" * 16, **options: object) -> Signal:
        signal = message(identity, session, Request(description(identity), cast("bytes | None", options.get("invite"))))
        self.host.received(KEYS.sender, signal)
        return signal

    def last(self, identity: Identity) -> Content:
        return next(content for receiver, content in reversed(self.sent) if receiver.id == identity.public)

    def refusals(self) -> list[IroshError]:
        return [content.error() for _, content in self.sent if isinstance(content, Refusal)]

    async def answered(self, identity: Identity, count: int = 1) -> None:
        def answers() -> int:
            return sum(isinstance(c, Answer) and r.id == identity.public for r, c in self.sent)

        await until(lambda: answers() == count)

    async def connected(self, identity: Identity, session: bytes = b"s" * 16) -> ScriptedSession:
        self.request(identity, session)
        await self.answered(identity)
        made = self.sessions[-1]
        made.proceed.set()
        async with asyncio.timeout(DEADLINE):
            assert cast("object", await self.host.accept()) is made.connection
        return made


def message(
    identity: Identity, session: bytes, content: Content, *, now: float | None = None, to: Identity | None = None
) -> Signal:
    recipient = None if to is None else to.public
    payload = seal(identity, KEYS, session, content, now=time.time() if now is None else now, recipient=recipient)
    return open_signal(payload, KEYS)


def check_invite(invite: bytes, _peer_id: str) -> None:
    if invite != INVITE:
        raise IroshError(ErrorCode.INVITE_INVALID, "unknown invite")


@asynccontextmanager
async def stage(
    *, max_sessions: int = 10, gather: Callable[[], Awaitable[ScriptedSession]] | None = None
) -> AsyncIterator[Stage]:
    sessions: list[ScriptedSession] = []
    sent: list[tuple[Receiver, Content]] = []

    async def made() -> ScriptedSession:
        session = ScriptedSession() if gather is None else await gather()
        sessions.append(session)
        return session

    hosting = Hosting(None, lambda: None, {peer.id for peer in PEERS}.__contains__, check_invite)
    host = NostrHost(
        HOST.public, hosting, lambda receiver, content: sent.append((receiver, content)), made, max_sessions
    )
    try:
        yield Stage(host, sessions, sent)
    finally:
        await host.close()
        assert host.sessions == 0
        assert all(session.closed for session in sessions)
        assert await host.accept() is None


def test_a_request_is_answered_and_joined_and_cleaned_up() -> None:
    async def body() -> None:
        async with stage() as on:
            session = await on.connected(ALICE)
            assert on.host.sessions == 1
            session.connection.closed.set()
            await until(lambda: on.host.sessions == 0)
            assert session.closed
            assert on.refusals() == []

    run(body())


def test_a_request_that_comes_again_gets_the_same_answer_and_no_second_session() -> None:
    async def body() -> None:
        async with stage() as on:
            on.request(ALICE)
            on.request(ALICE)  # while the first is being looked after
            await on.answered(ALICE)
            on.request(ALICE)
            await on.answered(ALICE, 2)
            assert len(on.sessions) == on.host.sessions == 1

    run(body())


def test_a_request_that_arrives_after_its_session_opens_no_other() -> None:
    async def body() -> None:
        async with stage() as on:
            session = await on.connected(ALICE)
            session.connection.closed.set()
            await until(lambda: on.host.sessions == 0)
            on.request(ALICE)
            assert on.host.sessions == 0

    run(body())


def test_a_repeated_message_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when so much has happened since that its session is forgotten."""
    monkeypatch.setattr(nostr_host, "MAX_ENDED", 1)

    async def body() -> None:
        async with stage() as on:
            signal = on.request(ALICE)
            await on.answered(ALICE)
            on.host.received(KEYS.sender, message(ALICE, b"s" * 16, Bye()))
            await until(lambda: on.host.sessions == 0)
            session = await on.connected(BOB)
            session.connection.closed.set()
            await until(lambda: on.host.sessions == 0)
            before = len(on.sent)
            on.host.received(KEYS.sender, signal)
            assert on.host.sessions == 0
            assert len(on.sent) == before

    run(body())


@pytest.mark.parametrize("offset", [-3600.0, 3600.0])
def test_clocks_that_differ_are_told(offset: float) -> None:
    async def body() -> None:
        async with stage() as on:
            request = Request(description(ALICE))
            on.host.received(KEYS.sender, message(ALICE, b"s" * 16, request, now=time.time() + offset))
            (error,) = on.refusals()
            assert error.code is ErrorCode.CLOCK_SKEW
            assert on.host.sessions == 0

    run(body())


def test_what_is_meant_for_another_identity_is_refused() -> None:
    async def body() -> None:
        async with stage() as on:
            on.host.received(KEYS.sender, message(ALICE, b"s" * 16, Request(description(ALICE)), to=BOB))
            assert [error.code for error in on.refusals()] == [ErrorCode.IDENTITY_MISMATCH]
            on.host.received(KEYS.sender, message(ALICE, b"t" * 16, Request(description(ALICE)), to=HOST))
            await on.answered(ALICE)

    run(body())


def test_strangers_need_an_invite() -> None:
    async def body() -> None:
        async with stage() as on:
            on.request(STRANGER)
            on.request(STRANGER, b"t" * 16, invite=b"wrong")
            assert [error.code for error in on.refusals()] == [ErrorCode.UNKNOWN_PEER, ErrorCode.INVITE_INVALID]
            assert on.host.sessions == 0
            on.request(STRANGER, b"u" * 16, invite=INVITE)
            await on.answered(STRANGER)

    run(body())


def test_refusals_are_sent_at_a_bounded_rate() -> None:
    async def body() -> None:
        async with stage() as on:
            for number in range(500):
                on.request(STRANGER, number.to_bytes(16, "big"))
            assert 30 <= len(on.refusals()) <= 40
            await on.connected(ALICE)

    run(body())


def test_a_description_of_another_is_refused() -> None:
    async def body() -> None:
        async with stage() as on:
            on.host.received(KEYS.sender, message(ALICE, b"s" * 16, Request(description(BOB))))
            on.host.received(KEYS.sender, message(ALICE, b"t" * 16, Request(b"garbage")))
            assert [error.code for error in on.refusals()] == [ErrorCode.IDENTITY_MISMATCH, ErrorCode.PROTOCOL]

    run(body())


def test_one_more_than_the_limit_is_refused_until_one_leaves() -> None:
    async def body() -> None:
        async with stage() as on:
            served = [await on.connected(peer) for peer in PEERS[:10]]
            on.request(PEERS[10])
            (error,) = on.refusals()
            assert error.code is ErrorCode.BUSY
            assert "10 receivers" in error.message
            assert on.host.sessions == 10
            served[3].connection.closed.set()
            await until(lambda: on.host.sessions == 9)
            await on.connected(PEERS[10], b"t" * 16)

    run(body())


def test_no_limit() -> None:
    async def body() -> None:
        async with stage(max_sessions=0) as on:
            for number in range(30):
                on.request(PEERS[number % len(PEERS)], number.to_bytes(16, "big"))
            assert on.host.sessions == 30

    run(body())


def test_at_the_limit_a_receiver_that_comes_again_replaces_itself() -> None:
    async def body() -> None:
        async with stage(max_sessions=2) as on:
            lost = await on.connected(ALICE)
            other = await on.connected(BOB)
            await until(lambda: on.host.sessions == 2)
            on.request(ALICE, b"t" * 16)
            await on.answered(ALICE, 2)
            await until(lambda: on.host.sessions == 2)
            assert lost.closed
            assert lost.connection.moved, "what it carried may go on over the other"
            assert not other.closed
            assert on.refusals() == []

    run(body())


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (IroshError(ErrorCode.UNREACHABLE, "no pair"), ErrorCode.UNREACHABLE),
        (ZeroDivisionError("a fault"), ErrorCode.INTERNAL),
    ],
)
def test_one_session_that_fails_disturbs_no_other(failure: Exception, code: ErrorCode) -> None:
    async def body() -> None:
        async with stage() as on:
            good = await on.connected(BOB)
            on.request(ALICE)
            await on.answered(ALICE)
            bad = on.sessions[-1]
            bad.failure = failure
            bad.proceed.set()
            await until(lambda: on.host.sessions == 1)
            assert bad.closed
            assert not good.closed
            (error,) = on.refusals()
            assert error.code is code
            on.request(ALICE)  # the refusal was lost
            assert [error.code for error in on.refusals()] == [code, code]
            assert on.host.sessions == 1

    run(body())


def test_a_session_that_cannot_begin_is_refused() -> None:
    async def fail() -> ScriptedSession:
        raise IroshError(ErrorCode.BIND_FAILED, "no port")

    async def body() -> None:
        async with stage(gather=fail) as on:
            on.request(ALICE)
            await until(lambda: on.host.sessions == 0)
            assert [error.code for error in on.refusals()] == [ErrorCode.BIND_FAILED]

    run(body())


def test_a_session_that_hangs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nostr_host, "JOIN_DEADLINE", 0.05)

    async def body() -> None:
        async with stage() as on:
            on.request(ALICE)
            await on.answered(ALICE)
            await until(lambda: on.host.sessions == 0)
            assert [error.code for error in on.refusals()] == [ErrorCode.NO_PATH]

    run(body())


def test_whoever_gives_up_is_let_go() -> None:
    async def body() -> None:
        async with stage() as on:
            on.request(ALICE)
            await on.answered(ALICE)
            on.host.received(KEYS.sender, message(BOB, b"s" * 16, Bye()))  # not his session
            assert on.host.sessions == 1
            on.host.received(KEYS.sender, message(ALICE, b"s" * 16, Bye()))
            await until(lambda: on.host.sessions == 0)
            assert on.refusals() == []

    run(body())


def test_whoever_gives_up_at_once_is_let_go() -> None:
    """The session's task has not taken its first step."""

    async def body() -> None:
        async with stage() as on:
            on.request(ALICE)
            on.host.received(KEYS.sender, message(ALICE, b"s" * 16, Bye()))
            await until(lambda: on.host.sessions == 0)

    run(body())


def test_a_goodbye_that_overtakes_its_request_holds() -> None:
    async def body() -> None:
        async with stage() as on:
            on.host.received(KEYS.sender, message(ALICE, b"s" * 16, Bye()))
            on.request(ALICE)
            assert on.host.sessions == 0

    run(body())


def test_a_connection_is_not_ended_by_a_goodbye() -> None:
    async def body() -> None:
        async with stage() as on:
            session = await on.connected(ALICE)
            on.host.received(KEYS.sender, message(ALICE, b"s" * 16, Bye()))
            await asyncio.sleep(0)
            assert on.host.sessions == 1
            assert not session.closed

    run(body())


def test_those_who_wait_hear_that_the_host_stops() -> None:
    async def body() -> None:
        async with stage() as on:
            await on.connected(BOB)
            on.request(ALICE)
            await on.answered(ALICE)
        assert [error.code for error in on.refusals()] == [ErrorCode.SHUTTING_DOWN]
        assert on.last(ALICE) == on.sent[-1][1]

    run(body())
