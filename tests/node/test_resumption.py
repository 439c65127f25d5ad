"""Going on with a session: only its owner may, and nothing a peer says meanwhile harms the host or others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.wire import (
    PROTOCOL_VERSION,
    Hello,
    Resume,
    StreamAnswer,
    StreamHeader,
    Welcome,
    encode_frame,
    encode_request,
)
from irosh.node.destination import Destination
from irosh.node.newcomers import MAX_CONNECTIONS_OF_ONE
from irosh.node.node import Node
from irosh.node.peer_admin import PeerAdmin
from irosh.rendezvous.interfaces import Contact
from irosh.services.tunnel.messages import TunnelRequest
from irosh.transport.framing import read_frame, write_frame
from irosh.transport.interfaces import CarrierStream, Connection, StreamReset
from irosh.transport.session.frames import (
    RESUMED_SIZE,
    Acks,
    Live,
    StartKind,
    StreamResumed,
    StreamStart,
    unpack_resumed,
)
from irosh.transport.wheel import WheelEndpoint
from tests.support.nodes import DEADLINE, bare_endpoint, pin, running_node

MiB = 1024 * 1024


@dataclass
class Visit:
    """One connection of a peer that speaks the protocol by hand."""

    connection: Connection
    control: CarrierStream

    async def welcome(self) -> Welcome:
        return await read_frame(self.control, Welcome, deadline=DEADLINE)

    async def refusal(self) -> ErrorCode:
        """With what reason the host closes it."""
        return (await self.connection.wait_closed()).code

    async def open_tunnel(self, port: int, number: int) -> CarrierStream:
        stream = await self.connection.open_stream()
        await stream.write(StreamStart(StartKind.FRESH, number).pack())
        await write_frame(stream, StreamHeader("tunnel", encode_request(TunnelRequest(f"tcp://127.0.0.1:{port}"))))
        answer = await read_frame(stream, StreamAnswer, deadline=DEADLINE)
        assert answer.error is None
        return stream

    async def resume_stream(self, number: int, received: int) -> tuple[CarrierStream, StreamResumed]:
        stream = await self.connection.open_stream()
        await stream.write(StreamStart(StartKind.RESUMED, number, received).pack())
        return stream, unpack_resumed(await stream.read_exactly(RESUMED_SIZE))


@dataclass
class Peer:
    """A pinned peer of ``host``."""

    host: Node
    endpoint: WheelEndpoint

    async def visit(self, resume: Resume | None = None, instance: bytes = b"first") -> Visit:
        connection = await self.endpoint.connect(self.host.modes.contact().route())
        control = await connection.open_stream()
        await write_frame(control, Hello(PROTOCOL_VERSION, resume=resume, instance=instance, replay_buffer=MiB))
        return Visit(connection, control)

    async def refused(self, resume: Resume) -> ErrorCode:
        return await (await self.visit(resume)).refusal()

    async def sessions(self, wanted: Callable[[int, int], bool]) -> None:
        """Wait until ``wanted`` is true of how many sessions the host has with this peer, and how many wait."""
        while True:
            live = self.host.links.connections(self.endpoint.id)
            if wanted(len(live), sum(connection.session.is_down for connection in live)):
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def host(tmp_path: Path, config: str = "") -> AsyncIterator[Node]:
    state = tmp_path / "host"
    state.mkdir(mode=0o700)
    if config:
        (state / "config.toml").write_text(config)
    async with asyncio.timeout(DEADLINE), running_node(state) as node:
        yield node


@asynccontextmanager
async def peer_of(node: Node, name: str) -> AsyncIterator[Peer]:
    identity = Identity.generate()
    pin(node, identity, name, ["forward:tcp://127.0.0.1:*"])
    async with bare_endpoint(identity) as endpoint:
        yield Peer(node, endpoint)


@asynccontextmanager
async def echo_server() -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def echoes(stream: CarrierStream, text: bytes = b"still mine") -> None:
    """The tunnel carries bytes both ways."""
    await stream.write(text)
    assert await stream.read_exactly(len(text)) == text


def claim(welcome: Welcome) -> Resume:
    return Resume(welcome.session, welcome.token)


def refusals(node: Node, event: str) -> list[str | None]:
    """Who was refused, according to the audit."""
    return [entry.peer_id for entry in node.trust.audit_log() if entry.event == event and entry.outcome == "refused"]


def test_the_owner_goes_on_where_it_was(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner, echo_server() as port:
            first = await owner.visit()
            welcome = await first.welcome()
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
            visit = await owner.visit()
            welcome = await visit.welcome()
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
            visit = await owner.visit()
            welcome = await visit.welcome()
            visit.connection.close()
            await owner.sessions(lambda live, waiting: live == 0)
            assert await owner.refused(claim(welcome)) is ErrorCode.SESSION_UNKNOWN

    asyncio.run(body())


def test_access_that_was_revoked_meanwhile_ends_the_session(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner:
            visit = await owner.visit()
            welcome = await visit.welcome()
            visit.connection.close(moved=True)
            await owner.sessions(lambda live, waiting: waiting == 1)
            PeerAdmin(node.trust, node.links.close_peer).revoke("owner")
            await owner.sessions(lambda live, waiting: live == 0)
            assert await owner.refused(claim(welcome)) is ErrorCode.REVOKED
            assert refusals(node, "connect") == [owner.endpoint.id]

    asyncio.run(body())


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00",
        b"\xff\xff" + b"x" * 70_000,
        b"\x00\x03\xc1\xc1\xc1",
        b"\x00\x02\x91\x63",
        encode_frame(Hello(1)),
        encode_frame(Acks([(0, 1)])),  # as ours is not open this is ignored; the next is not
    ],
)
def test_garbage_on_the_control_stream_ends_that_session_alone(tmp_path: Path, garbage: bytes) -> None:
    async def body() -> None:
        async with (
            host(tmp_path) as node,
            peer_of(node, "friend") as friend,
            peer_of(node, "mallory") as mallory,
            echo_server() as port,
        ):
            good = await friend.visit()
            await good.welcome()
            stream = await good.open_tunnel(port, 0)
            bad = await mallory.visit()
            await bad.welcome()
            await bad.open_tunnel(port, 0)
            await bad.control.write(garbage + encode_frame(Acks([(0, 1 << 61)])))
            assert await bad.refusal() is ErrorCode.PROTOCOL
            await mallory.sessions(lambda live, waiting: live == 0)
            await echoes(stream)

    asyncio.run(body())


@pytest.mark.parametrize("number", [0, 1, 1 << 63, (1 << 64) - 1])
def test_a_stream_number_that_was_used_or_is_the_hosts_is_refused(tmp_path: Path, number: int) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "mallory") as mallory, echo_server() as port:
            visit = await mallory.visit()
            await visit.welcome()
            stream = await visit.open_tunnel(port, 0)
            await echoes(stream)
            if number < 1 << 63 or number % 2:
                with pytest.raises(StreamReset):
                    await visit.open_tunnel(port, number)
            else:
                await echoes(await visit.open_tunnel(port, number))
            await echoes(stream)

    asyncio.run(body())


def test_ten_thousand_half_started_streams_do_not_disturb_others(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            host(tmp_path) as node,
            peer_of(node, "friend") as friend,
            peer_of(node, "mallory") as mallory,
            echo_server() as port,
        ):
            bad = await mallory.visit()
            await bad.welcome()
            begun: list[CarrierStream] = []

            async def flood() -> None:
                for number in range(10_000):
                    stream = await bad.connection.open_stream()
                    await stream.write(StreamStart(StartKind.FRESH, number * 2).pack()[:-1])
                    begun.append(stream)

            flooding = asyncio.create_task(flood())
            good = await friend.visit()
            await good.welcome()
            while len(begun) < 5000:
                await asyncio.sleep(0.01)
            for number in range(10):
                stream = await good.open_tunnel(port, number * 2)
                await echoes(stream)
                await stream.finish()
            (session,) = (connection.session for connection in node.links.connections(mallory.endpoint.id))
            assert not session.streams()  # type: ignore[attr-defined]
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)

    asyncio.run(body())


def test_resuming_without_end_costs_nobody_anything(tmp_path: Path) -> None:
    async def body() -> None:
        async with (
            host(tmp_path) as node,
            peer_of(node, "friend") as friend,
            peer_of(node, "mallory") as mallory,
            echo_server() as port,
        ):
            good = await friend.visit()
            await good.welcome()
            stream = await good.open_tunnel(port, 0)
            visit = await mallory.visit()
            welcome = await visit.welcome()
            await echoes(await visit.open_tunnel(port, 0))
            before = len(asyncio.all_tasks())
            visits = [visit]  # one that is forgotten is closed for good
            for _ in range(60):
                visits.append(await mallory.visit(claim(welcome)))
                await visits[-1].welcome()
            await echoes(stream)
            _, answer = await visits[-1].resume_stream(0, 0)
            assert answer.known
            await mallory.sessions(lambda live, waiting: (live, waiting) == (1, 0))
            while len(asyncio.all_tasks()) > before + 5:
                await asyncio.sleep(0.01)

    asyncio.run(body())


def test_a_peer_that_acknowledges_nothing_holds_the_sender_back(tmp_path: Path) -> None:
    async def body() -> None:
        async def pour(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    writer.write(bytes(65536))
                    await writer.drain()
            except OSError:
                writer.close()

        server = await asyncio.start_server(pour, "127.0.0.1", 0)
        async with (
            host(tmp_path, '[session]\nreplay_buffer = "1MiB"\n') as node,
            peer_of(node, "mallory") as mallory,
            server,
        ):
            visit = await mallory.visit()
            await visit.welcome()
            stream = await visit.open_tunnel(server.sockets[0].getsockname()[1], 0)
            got = 0
            with pytest.raises(TimeoutError):
                while True:
                    async with asyncio.timeout(1):
                        got += len(await stream.read(MiB))
            assert MiB <= got < 2 * MiB
            (session,) = (connection.session for connection in node.links.connections())
            assert session._budget.used < 2 * MiB
            visit.connection.close(moved=True)
            await mallory.sessions(lambda live, waiting: waiting == 1)
            assert session._budget.used < 2 * MiB
            kept = session._budget.used
            other = await mallory.visit()
            await other.welcome()
            await other.open_tunnel(server.sockets[0].getsockname()[1], 0)
            while session._budget.used <= kept:  # what all sessions of one peer keep counts together
                await asyncio.sleep(0.01)
            for connection in node.links.connections():
                connection.session.close()

    asyncio.run(body())


def test_a_node_that_begins_anew_ends_the_sessions_it_left(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner:
            left = await owner.visit(instance=b"first")
            welcome = await left.welcome()
            left.connection.close(moved=True)
            await owner.sessions(lambda live, waiting: waiting == 1)
            await (await owner.visit(instance=b"second")).welcome()
            await owner.sessions(lambda live, waiting: (live, waiting) == (1, 0))
            assert await owner.refused(claim(welcome)) is ErrorCode.SESSION_UNKNOWN

    asyncio.run(body())


def test_a_session_left_behind_does_not_wait_once_it_is_found_lost(tmp_path: Path) -> None:
    async def body() -> None:
        async with host(tmp_path) as node, peer_of(node, "owner") as owner:
            left = await owner.visit(instance=b"first")
            await left.welcome()
            kept = await owner.visit(instance=b"second")
            await kept.welcome()
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
                visit = await owner.visit()
                await visit.welcome()
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


@asynccontextmanager
async def foreign_host(taken: list[Hello], after: Callable[[Visit, Hello], None]) -> AsyncIterator[WheelEndpoint]:
    """A host that welcomes whoever comes, and then does with it what ``after`` says."""
    async with bare_endpoint() as endpoint:
        visits: list[Visit] = []

        async def serve() -> None:
            while (connection := await endpoint.accept()) is not None:
                visit = Visit(connection, await connection.accept_stream())
                visits.append(visit)
                hello = await read_frame(visit.control, Hello, deadline=DEADLINE)
                taken.append(hello)
                await write_frame(visit.control, Welcome(PROTOCOL_VERSION, "foreign", "user", b"s", b"t", 600.0, MiB))
                after(visit, hello)

        serving = asyncio.create_task(serve())
        try:
            yield endpoint
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


def destination(endpoint: WheelEndpoint) -> Destination:
    route = endpoint.route()
    return Destination(Contact(route.endpoint_id, addresses=route.addresses))


def test_a_host_that_drops_every_connection_is_not_dialled_without_pause(tmp_path: Path) -> None:
    def drop(visit: Visit, _hello: Hello) -> None:
        asyncio.get_running_loop().call_later(0.1, lambda: visit.connection.close(moved=True))

    async def body() -> None:
        taken: list[Hello] = []
        async with asyncio.timeout(DEADLINE), foreign_host(taken, drop) as endpoint, host(tmp_path) as node:
            peer = await node.links.get(destination(endpoint))
            while len(taken) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(2)  # what would be dozens of dials
            assert 2 <= len(taken) <= 6
            assert [hello.resume is None for hello in taken[:2]] == [True, False]
            assert not peer.session.is_closed

    asyncio.run(body())


@pytest.mark.parametrize("code", [ErrorCode.SESSION_UNKNOWN, ErrorCode.REVOKED])
def test_a_host_that_refuses_to_go_on_ends_the_session_for_that_reason(tmp_path: Path, code: ErrorCode) -> None:
    def once(visit: Visit, hello: Hello) -> None:
        if hello.resume is None:
            asyncio.get_running_loop().call_later(0.1, lambda: visit.connection.close(moved=True))
        else:
            visit.connection.close(IroshError(code, "no"))

    async def body() -> None:
        async with asyncio.timeout(DEADLINE), foreign_host([], once) as endpoint, host(tmp_path) as node:
            peer = await node.links.get(destination(endpoint))
            assert (await peer.session.wait_closed()).code is code

    asyncio.run(body())


def test_what_a_host_claims_falsely_ends_its_session_and_not_the_node(tmp_path: Path) -> None:
    def lie(visit: Visit, hello: Hello) -> None:
        if hello.resume is None:
            asyncio.get_running_loop().call_later(0.2, lambda: visit.connection.close(moved=True))
        else:
            lies.append(asyncio.create_task(claim_too_much(visit)))

    async def claim_too_much(visit: Visit) -> None:
        stream = await visit.connection.accept_stream()
        await stream.read_exactly(len(StreamStart(StartKind.RESUMED, 0).pack()))
        await stream.write(StreamResumed(True, 1 << 40).pack())

    lies: list[asyncio.Task[None]] = []

    async def body() -> None:
        async with asyncio.timeout(DEADLINE), foreign_host([], lie) as endpoint, host(tmp_path) as node:
            peer = await node.links.get(destination(endpoint))
            opened = await peer.open("tunnel", TunnelRequest("tcp://127.0.0.1:1"))
            with pytest.raises((IroshError, StreamReset)):
                await opened.answer()
            await asyncio.gather(*lies)
            async with foreign_host([], lambda _visit, _hello: None) as another:
                await node.links.get(destination(another))

    asyncio.run(body())
