"""ICE sessions between endpoints of one process: servers that are silent or lie, peers that are not what they say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.ice_description import IceDescription, decode_description
from irosh.core.identity import Identity
from irosh.core.network_options import NetworkOptions, TurnServer
from irosh.rendezvous import ice_agent, ice_gathering, ice_session
from irosh.rendezvous.ice_session import IceSession
from irosh.rendezvous.relay_fallback import RelayFallback
from irosh.transport.interfaces import Route
from irosh.transport.relay import RelayConfig, RelayServer
from irosh.transport.wheel import EndpointSettings, bind_endpoint
from tests.support.failures import refusal
from tests.support.stun_server import claiming, honest, refusing, seeing, silent, stun_server
from tests.support.traceless import run

OPTIONS = NetworkOptions(relays=(), stun_servers=(), bind="127.0.0.1:0")


@pytest.fixture(autouse=True)
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """What never answers is given up soon."""
    monkeypatch.setattr(ice_gathering, "GATHERING_DEADLINE", 0.6)
    monkeypatch.setattr(ice_gathering, "TURN_DEADLINE", 0.6)
    monkeypatch.setattr(ice_gathering, "TURN_BY_UDP", 0.3)
    monkeypatch.setattr(ice_agent, "NEGOTIATION_DEADLINE", 1.0)
    monkeypatch.setattr(ice_session, "JOIN_DEADLINE", 8.0)
    monkeypatch.setattr(ice_session, "QUIC_DEADLINE", 2.0)
    monkeypatch.setattr(ice_session, "RELAY_WAIT", 5.0)


class Side:
    """One node."""

    def __init__(self, *, controlling: bool, options: NetworkOptions = OPTIONS) -> None:
        self.identity = Identity.generate()
        self.options = options
        self.controlling = controlling
        self.fallback = RelayFallback(self.identity.secret, options)

    async def gather(self) -> IceSession:
        return await IceSession.gather(
            self.identity.secret, self.options, controlling=self.controlling, fallback=self.fallback
        )


@asynccontextmanager
async def sessions(options: NetworkOptions = OPTIONS) -> AsyncIterator[tuple[IceSession, IceSession]]:
    """A host's session and a client's, gathered; closed in the end."""
    sides = Side(controlling=False, options=options), Side(controlling=True, options=options)
    host, client = [await side.gather() for side in sides]
    try:
        yield host, client
    finally:
        for session, side in zip((host, client), sides, strict=True):
            await session.close()
            await side.fallback.close()


def as_received(description: IceDescription) -> IceDescription:
    return decode_description(description.encode())


def test_two_sessions_meet_and_end_together() -> None:
    async def body() -> None:
        async with sessions() as (host, client):
            accepted, dialled = await asyncio.gather(
                host.join(as_received(client.description)), client.join(as_received(host.description))
            )
            assert (accepted.peer_id, dialled.peer_id) == (client.description.endpoint_id, host.description.endpoint_id)
            assert host.way == client.way == "direct"
            stream = await dialled.open_stream()
            await stream.write(b"x" * 100_000)
            assert await (await accepted.accept_stream()).read_exactly(100_000) == b"x" * 100_000
            dialled.close()
            await asyncio.gather(host.wait_closed(), client.wait_closed())

    run(body)


def test_closing_a_session_closes_its_connection() -> None:
    async def body() -> None:
        async with sessions() as (host, client):
            accepted, _ = await asyncio.gather(host.join(client.description), client.join(host.description))
            await client.close()
            await accepted.wait_closed()
            await host.wait_closed()

    run(body)


def test_a_stun_server_gives_the_reflexive_address() -> None:
    async def body() -> None:
        async with (
            stun_server(claiming("198.51.100.7", 4242)) as server,
            sessions(replace(OPTIONS, stun_servers=(server.name,))) as (host, _),
        ):
            assert any("198.51.100.7 4242 typ srflx" in line for line in host.description.candidates)
            assert host.problems == []

    run(body)


def test_without_a_nat_there_is_no_reflexive_candidate() -> None:
    async def body() -> None:
        async with (
            stun_server(honest) as server,
            sessions(replace(OPTIONS, stun_servers=(server.name,))) as (host, _),
        ):
            assert len(host.description.candidates) == 1

    run(body)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (silent, ErrorCode.STUN_UNREACHABLE),
        (refusing, ErrorCode.STUN_UNREACHABLE),
        (claiming("0.0.0.0"), ErrorCode.STUN_INVALID),
        (claiming("224.0.0.1"), ErrorCode.STUN_INVALID),
        (claiming("192.0.2.1", 0), ErrorCode.STUN_INVALID),
    ],
)
def test_a_stun_server_that_is_of_no_use_is_named_and_host_addresses_do(answer: Any, code: ErrorCode) -> None:
    async def body() -> None:
        async with stun_server(answer) as server:
            started = time.monotonic()
            async with sessions(replace(OPTIONS, stun_servers=(server.name,))) as (host, client):
                assert time.monotonic() - started < 4
                assert host.problems[0].code is code
                assert server.name in host.problems[0].message
                await asyncio.gather(host.join(client.description), client.join(host.description))

    run(body)


def test_a_plausible_lie_is_tried_and_does_not_matter() -> None:
    async def body() -> None:
        async with (
            stun_server(claiming("192.0.2.99", 9)) as liar,
            stun_server(honest) as server,
            sessions(replace(OPTIONS, stun_servers=(liar.name, server.name))) as (host, client),
        ):
            await asyncio.gather(host.join(client.description), client.join(host.description))
            assert client.way == "direct"

    run(body)


def test_one_silent_server_of_two_costs_little_and_is_no_problem() -> None:
    async def body() -> None:
        async with (
            stun_server(silent) as dead,
            stun_server(honest) as server,
            sessions(replace(OPTIONS, stun_servers=(dead.name, server.name))) as (host, _),
        ):
            assert host.problems == []

    run(body)


def test_a_turn_server_that_does_not_answer_is_named_without_its_password() -> None:
    async def body() -> None:
        async with stun_server(silent) as dead:
            turn = TurnServer(*dead.address, "user", "secret word")
            async with sessions(replace(OPTIONS, turn_servers=(turn,))) as (host, _):
                (problem,) = host.problems
                assert problem.code is ErrorCode.TURN_UNREACHABLE
                assert dead.name in problem.message
                assert "secret word" not in str(problem)

    run(body)


def test_a_peer_that_never_comes() -> None:
    async def body() -> None:
        async with sessions() as (host, client):
            error = await refusal(client.join(host.description))
            assert error.code is ErrorCode.NO_PATH
            assert "no packet" in error.message
            assert "--relay" in error.hint

    run(body)


def test_a_peer_that_comes_late_is_waited_for() -> None:
    async def body() -> None:
        async with sessions() as (host, client):
            dialling = asyncio.create_task(client.join(host.description, patience=30))
            await asyncio.sleep(2.5)  # longer than a check is repeated by itself
            accepted, dialled = await asyncio.gather(host.join(client.description), dialling)
            assert accepted.peer_id == client.description.endpoint_id
            assert dialled.peer_id == host.description.endpoint_id

    run(body)


def test_a_description_with_another_password_gets_no_answer() -> None:
    async def body() -> None:
        async with sessions() as (host, client):
            forged = replace(host.description, pwd="A" * 24)
            errors = await asyncio.gather(refusal(client.join(forged)), refusal(host.join(client.description)))
            assert {error.code for error in errors} == {ErrorCode.NO_PATH}

    run(body)


def test_whoever_answers_has_to_have_the_identity_described() -> None:
    async def body() -> None:
        async with sessions() as (host, client):
            other = Identity.generate().id
            dialling = refusal(client.join(replace(host.description, endpoint_id=other)))
            error, refused = await asyncio.gather(dialling, refusal(host.join(client.description)))
            assert error.code is ErrorCode.IDENTITY_MISMATCH
            assert refused.code is ErrorCode.UNREACHABLE

    run(body)


def test_whoever_dials_has_to_have_the_identity_described() -> None:
    async def body() -> None:
        async with sessions() as (host, client):
            described = replace(client.description, endpoint_id=Identity.generate().id)

            async def dial() -> IroshError:
                try:
                    return await (await client.join(host.description)).wait_closed()
                except IroshError as error:
                    return error  # it was closed before it came to be used

            told, refused = await asyncio.gather(dial(), refusal(host.join(described)))
            assert told.code is ErrorCode.UNKNOWN_PEER
            assert refused.code is ErrorCode.UNREACHABLE

    run(body)


def test_ones_own_description_is_refused() -> None:
    async def body() -> None:
        async with sessions() as (host, _):
            assert (await refusal(host.join(host.description))).code is ErrorCode.UNKNOWN_TARGET

    run(body)


@pytest.mark.parametrize("moment", ["gathering", "negotiating", "waiting for a late peer"])
def test_giving_up_midway_leaves_nothing(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_gathering, "GATHERING_DEADLINE", 30)
    monkeypatch.setattr(ice_gathering, "TURN_DEADLINE", 30)

    async def give_up(work: Coroutine[Any, Any, object], after: float) -> None:
        task = asyncio.create_task(work)
        await asyncio.sleep(after)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)

    async def body() -> None:
        if moment == "gathering":
            async with stun_server(silent) as dead:
                turn = TurnServer(*dead.address, "user", "secret")
                options = replace(OPTIONS, stun_servers=(dead.name,), turn_servers=(turn,))
                await give_up(Side(controlling=True, options=options).gather(), 0.2)
            return
        async with sessions() as (host, client):
            patience = 60 if moment.startswith("waiting") else 0
            await give_up(client.join(host.description, patience=patience), 0.3)

    run(body)


# --- over a relay


@pytest.mark.parametrize("relay_only", [True, False])
def test_the_relay_where_ice_finds_nothing_or_must_not(relay_only: bool) -> None:
    async def body() -> None:
        async with RelayServer(RelayConfig(host="127.0.0.1", port=0)) as relay:
            options = replace(OPTIONS, relays=(relay.url,), relay_only=relay_only)
            async with sessions(options) as (host, client):
                assert host.description.relays == (relay.url,)
                assert bool(host.description.candidates) is not relay_only
                # What ICE would find is taken away.
                accepted, dialled = await asyncio.gather(
                    host.join(replace(client.description, pwd="A" * 24)),
                    client.join(replace(host.description, pwd="A" * 24)),
                )
                assert host.way == client.way == "relay"
                assert accepted.peer_id == client.description.endpoint_id
                assert dialled.peer_id == host.description.endpoint_id
                stream = await dialled.open_stream()
                await stream.write(b"by relay")
                assert await (await accepted.accept_stream()).read_exactly(8) == b"by relay"

    run(body)


def test_a_direct_way_comes_before_the_relay() -> None:
    async def body() -> None:
        async with (
            RelayServer(RelayConfig(host="127.0.0.1", port=0)) as relay,
            sessions(replace(OPTIONS, relays=(relay.url,))) as (host, client),
        ):
            await asyncio.gather(host.join(client.description), client.join(host.description))
            assert host.way == client.way == "direct"

    run(body)


def test_one_relay_endpoint_serves_several_sessions() -> None:
    async def body() -> None:
        async with RelayServer(RelayConfig(host="127.0.0.1", port=0)) as relay:
            options = replace(OPTIONS, relays=(relay.url,), relay_only=True)
            host = Side(controlling=False, options=options)
            clients = [Side(controlling=True, options=options) for _ in range(3)]
            opened: list[IceSession] = []
            try:
                pairs = [(await host.gather(), await client.gather()) for client in clients]
                opened += [session for pair in pairs for session in pair]
                joins = [
                    join
                    for ours, theirs in pairs
                    for join in (ours.join(theirs.description), theirs.join(ours.description))
                ]
                connections = await asyncio.gather(*joins)
                accepted = {connection.peer_id for connection in connections[::2]}
                assert accepted == {client.identity.id for client in clients}
            finally:
                for session in opened:
                    await session.close()
                for side in (host, *clients):
                    await side.fallback.close()

    run(body)


def test_an_endpoint_of_the_node_is_shared_with_what_else_uses_it() -> None:
    async def body() -> None:
        async with RelayServer(RelayConfig(host="127.0.0.1", port=0)) as relay:
            options = replace(OPTIONS, relays=(relay.url,), relay_only=True)
            host, client = Side(controlling=False, options=options), Side(controlling=True, options=options)
            settings = EndpointSettings(host.identity.secret, bind=("127.0.0.1:0", "[::1]:0"), relays=(relay.url,))
            endpoint = await bind_endpoint(settings)
            host.fallback = RelayFallback(host.identity.secret, options, lambda: endpoint)
            other = await bind_endpoint(replace(settings, secret=Identity.generate().secret))
            try:
                ours, theirs = await host.gather(), await client.gather()
                accepting = asyncio.create_task(endpoint.accept())
                route = Route(host.identity.id, (relay.url,))
                met, _, ordinary = await asyncio.gather(
                    ours.join(theirs.description), theirs.join(ours.description), other.connect(route)
                )
                assert met.peer_id == client.identity.id
                accepted = await accepting
                assert accepted is not None
                assert accepted.peer_id == other.id
                ordinary.close()
                await ours.close()
                await theirs.close()
                await host.fallback.close()
                assert await other.connect(route)  # the owner's endpoint is still there
            finally:
                await client.fallback.close()
                await endpoint.close()
                await other.close()

    run(body)


def test_a_mapping_that_changes_before_the_answer_comes_makes_the_offer_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ice_gathering, "KEEPALIVE", 0.05)
    ports = [4242]

    async def body() -> None:
        async with (
            stun_server(lambda request, source: [seeing(request, ("198.51.100.7", ports[0]))]) as server,
            sessions(replace(OPTIONS, stun_servers=(server.name,))) as (host, _),
        ):
            stale = asyncio.create_task(host.stale())
            asked = len(server.requests)
            while len(server.requests) < asked + 3:
                await asyncio.sleep(0.01)
            assert not stale.done()
            ports[0] = 4243
            await stale

    run(body)


def test_a_relay_that_one_side_forbids_is_not_used() -> None:
    async def body() -> None:
        async with RelayServer(RelayConfig(host="127.0.0.1", port=0)) as relay:
            host = Side(controlling=False, options=replace(OPTIONS, relays=(relay.url,)))
            client = Side(controlling=True)
            ours, theirs = await host.gather(), await client.gather()
            try:
                wrong = "A" * 24
                errors = await asyncio.gather(
                    refusal(ours.join(replace(theirs.description, pwd=wrong))),
                    refusal(theirs.join(replace(ours.description, pwd=wrong))),
                )
                assert [error.code for error in errors] == [ErrorCode.NO_PATH] * 2
                assert "--relay there" in errors[0].hint
                assert "--no-relay" in errors[1].hint
            finally:
                await host.fallback.close()
                await client.fallback.close()

    run(body)


def test_a_relay_that_is_down_is_said() -> None:
    async def body() -> None:
        async with RelayServer(RelayConfig(host="127.0.0.1", port=0)) as relay:
            url = relay.url
        async with sessions(replace(OPTIONS, relays=(url,), relay_only=True)) as (host, client):
            errors = await asyncio.gather(
                refusal(host.join(client.description)), refusal(client.join(host.description))
            )
            assert [error.code for error in errors] == [ErrorCode.NO_PATH] * 2
            assert url in errors[1].hint

    run(body)
