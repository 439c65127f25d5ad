"""The STUN client: what it believes, of servers that tell the truth, lie, or say nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import pytest
from aioice.stun import Class, Message, Method, parse_message
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode
from irosh.rendezvous.netcheck import check_network
from irosh.rendezvous.stun import StunClient, believable, disagreement, find_server, implausible, parse_answer, survey
from tests.support import stun_server as servers
from tests.support.failures import refusal
from tests.support.nodes import DEADLINE
from tests.support.stun_server import stun_server

PUBLIC = ("9.9.9.9", 3478)


def run(work: Coroutine[object, object, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE):
            await work

    asyncio.run(bounded())


@asynccontextmanager
async def client() -> AsyncIterator[StunClient]:
    opened = await StunClient.open("127.0.0.1")
    try:
        yield opened
    finally:
        await opened.close()


def test_a_server_tells_how_the_socket_is_seen() -> None:
    async def body() -> None:
        async with stun_server() as server, client() as stun:
            binding = await stun.ask(server.address)
            assert binding.mapped == stun.local
            assert binding.source == server.address
            assert 0 <= binding.rtt < DEADLINE

    run(body())


def test_a_lost_request_is_sent_again_unchanged() -> None:
    async def body() -> None:
        async with stun_server(deaf=2) as server, client() as stun:
            assert (await stun.ask(server.address)).mapped == stun.local
            assert len(set(server.requests)) == 1
            assert len(server.requests) == 3

    run(body())


def test_the_port_is_free_once_closed() -> None:
    async def body() -> None:
        async with stun_server() as server:
            stun = await StunClient.open("127.0.0.1")
            host, port = (await stun.ask(server.address)).mapped
            await stun.close()
            again = await StunClient.open(host, port)
            taken = await refusal(StunClient.open(host, port))
            assert taken.code is ErrorCode.PORT_TAKEN
            await again.close()

    run(body())


def test_a_silent_server_ends_at_the_deadline() -> None:
    async def body() -> None:
        async with stun_server(servers.silent) as server, client() as stun:
            error = await refusal(stun.ask(server.address, timeout=0.5))
            assert error.code is ErrorCode.STUN_UNREACHABLE
            assert server.name in error.message

    run(body())


def test_answers_to_other_questions_and_rubbish_count_for_nothing() -> None:
    async def body() -> None:
        async with stun_server(servers.foreign_transaction) as server, client() as stun:
            error = await refusal(stun.ask(server.address, timeout=0.5))
            assert error.code is ErrorCode.STUN_UNREACHABLE

    run(body())


def test_an_answer_from_elsewhere_counts_for_nothing() -> None:
    async def body() -> None:
        async with stun_server(servers.silent) as asked, client() as stun:
            asking = asyncio.ensure_future(refusal(stun.ask(asked.address, timeout=1)))
            while not asked.requests:
                await asyncio.sleep(0.01)
            request = parse_message(asked.requests[0])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
                forger.sendto(servers.seeing(request, ("192.0.2.66", 66)), stun.local)
            assert (await asking).code is ErrorCode.STUN_UNREACHABLE

    run(body())


def test_a_refusal_is_said_and_cannot_disturb_a_terminal() -> None:
    async def body() -> None:
        async with stun_server(servers.refusing) as server, client() as stun:
            error = await refusal(stun.ask(server.address))
            assert error.code is ErrorCode.STUN_INVALID
            assert "400" in error.message
            assert error.message.isprintable()

    run(body())


@pytest.mark.parametrize(
    "claimed", [("0.0.0.0", 7), ("224.0.0.1", 7), ("127.0.0.1", 0), ("::1", 7), ("255.255.255.255", 7)]
)
def test_an_address_that_nobody_can_have_is_refused(claimed: tuple[str, int]) -> None:
    async def body() -> None:
        async with stun_server(servers.claiming(*claimed)) as server, client() as stun:
            error = await refusal(stun.ask(server.address))
            assert error.code is ErrorCode.STUN_INVALID

    run(body())


@pytest.mark.parametrize("seen", ["10.0.0.1", "127.0.0.1", "169.254.1.1", "100.64.0.1", "192.168.1.1"])
def test_a_server_on_the_internet_sees_no_private_address(seen: str) -> None:
    assert implausible((seen, 4000), PUBLIC)
    assert not implausible(("8.8.8.8", 4000), PUBLIC)
    assert not implausible(("10.0.0.1", 4000), ("10.9.9.9", 3478))  # a server of the own network does


def test_servers_are_asked_side_by_side_and_a_bad_one_disturbs_no_other() -> None:
    async def body() -> None:
        async with (
            stun_server() as good,
            stun_server(servers.silent) as mute,
            stun_server(servers.claiming("0.0.0.0")) as liar,
            client() as stun,
        ):
            found = await survey(stun, [good.name, mute.name, liar.name, "not a name!:1"], timeout=1)
            assert list(found.bindings) == [good.name]
            assert found.mapped == [stun.local]
            codes = [problem.code for problem in found.problems]
            assert codes == [ErrorCode.STUN_UNREACHABLE, ErrorCode.STUN_INVALID, ErrorCode.INVALID_ADDRESS]

    run(body())


def test_of_servers_that_disagree_the_majority_is_believed() -> None:
    async def body() -> None:
        async with (
            stun_server(servers.claiming("192.0.2.66")) as liar,
            stun_server() as one,
            stun_server() as other,
            client() as stun,
        ):
            found = await survey(stun, [liar.name, one.name, other.name])
            assert found.mapped == [stun.local]
            (problem,) = found.problems
            assert problem.code is ErrorCode.STUN_INVALID
            assert f"{liar.name} says 192.0.2.66" in problem.message
            alone = await survey(stun, [liar.name, one.name])
            assert set(alone.mapped) == {stun.local, ("192.0.2.66", stun.local[1])}
            assert len(alone.problems) == 1

    run(body())


def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        release.wait(DEADLINE)
        return []

    async def body() -> None:
        error = await refusal(find_server("stun.example:3478", socket.AF_INET, timeout=0.2))
        assert error.code is ErrorCode.STUN_UNREACHABLE
        assert "no answer from DNS" in error.message
        report = await check_network(["stun.example:3478"], ["http://relay.example"], lambda _url: None)
        assert {problem.code for problem in report.problems} == {
            ErrorCode.STUN_UNREACHABLE,
            ErrorCode.RELAY_UNREACHABLE,
        }

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    begun = time.monotonic()
    run(body())
    assert time.monotonic() - begun < 10
    release.set()


def test_a_name_without_an_address_is_said() -> None:
    async def body() -> None:
        error = await refusal(find_server("does-not-exist.invalid", socket.AF_INET))
        assert error.code is ErrorCode.STUN_UNREACHABLE
        error = await refusal(find_server("127.0.0.1:3478", socket.AF_INET6))
        assert error.code is ErrorCode.STUN_UNREACHABLE

    run(body())


@given(st.binary(max_size=200))
def test_any_packet_can_be_parsed(data: bytes) -> None:
    parse_answer(data)


@given(st.data())
def test_any_damage_to_an_answer_can_be_parsed(data: st.DataObject) -> None:
    request = Message(Method.BINDING, Class.REQUEST)
    packet = bytearray(servers.seeing(request, ("192.0.2.1", 5)))
    for _ in range(data.draw(st.integers(1, 4))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    parse_answer(bytes(packet))


HOSTS = st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3"])


@given(st.lists(st.tuples(HOSTS, st.integers(1, 3)), max_size=6))
def test_only_what_the_most_servers_see_is_believed(seen: list[tuple[str, int]]) -> None:
    found = believable(seen)
    assert set(found) <= set(seen)
    assert bool(found) == bool(seen)
    hosts = [host for host, _ in seen]
    assert all(hosts.count(host) == max(map(hosts.count, hosts)) for host, _ in found)
    named = {str(number): address for number, address in enumerate(seen)}
    assert bool(disagreement(named)) == (len(set(hosts)) > 1)
