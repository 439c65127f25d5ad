"""Signalling over Nostr relays, honest and hostile."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack

import nostr_sdk
import pytest
from websockets.asyncio.client import connect

from irosh.core.errors import ErrorCode
from irosh.rendezvous import nostr_channel, nostr_link
from irosh.rendezvous.nostr_relay import NostrRelay
from tests.support.nostr import DEADLINE, Event, OddRelay, closed_port, local_relay, member, members
from tests.support.relay_client import run, until
from tests.support.web_server import web_server


def test_messages_go_both_ways_over_several_relays_and_arrive_once() -> None:
    async def body() -> None:
        async with local_relay() as a, local_relay() as b, local_relay() as c:
            urls = (a.url, b.url, c.url)
            async with members(2, *urls) as (alice, bob):
                for number in range(10):
                    await alice.reaches(bob, b"ping %d" % number)
                    await bob.reaches(alice, b"pong %d" % number)
                assert bob.inbox.empty()
                assert alice.inbox.empty()

    run(body())


def test_any_one_relay_that_both_reach_is_enough() -> None:
    async def body() -> None:
        async with (
            local_relay() as common,
            local_relay() as lonely,
            member(1, closed_port(), common.url, up=False) as alice,
            member(2, common.url, lonely.url, closed_port(), up=False) as bob,
        ):
            await asyncio.wait_for(bob.links[0].wait_up(), DEADLINE)
            alice.send(bob, b"hello")  # before Alice's connection is up: it waits for it
            assert (await bob.receive())[1] == b"hello"
            (problem,) = nostr_channel.problems(alice.links[:1])
            assert problem.code is ErrorCode.RELAY_UNREACHABLE
            assert alice.links[0].url in problem.message

    run(body())


def test_a_relay_that_comes_back_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nostr_link, "BACKOFF_FIRST", 0.05)

    async def body() -> None:
        async with AsyncExitStack() as running:
            first = await running.enter_async_context(local_relay())
            async with members(2, first.url) as (alice, bob):
                await alice.reaches(bob, b"one")
                await running.aclose()
                await until(lambda: not alice.links[0].is_up and not bob.links[0].is_up)
                async with NostrRelay("127.0.0.1", first.port), asyncio.timeout(DEADLINE):
                    await bob.links[0].wait_up()
                    await alice.reaches(bob, b"two")

    run(body())


def test_one_of_three_is_killed() -> None:
    async def body() -> None:
        async with local_relay() as a, local_relay() as b, AsyncExitStack() as running:
            dying = await running.enter_async_context(local_relay())
            urls = (a.url, b.url, dying.url)
            async with members(2, *urls) as (alice, bob):
                await alice.reaches(bob, b"one")
                await running.aclose()
                await until(lambda: not alice.links[2].is_up)
                await alice.reaches(bob, b"two")

    run(body())


def _flipped(text: str, index: int = 0) -> str:
    return text[:index] + ("0" if text[index] != "0" else "1") + text[index + 1 :]


def _forgeries(event: Event) -> list[Event]:
    """Events like ``event`` that nobody signed, all before the true one."""
    changed = [copy.deepcopy(event) for _ in range(7)]
    changed[0]["sig"] = _flipped(event["sig"])
    changed[1]["content"] = event["content"][:-4] + "AAAA"
    changed[2]["pubkey"] = _flipped(event["pubkey"])
    changed[3]["created_at"] -= 1
    changed[4]["id"] = _flipped(event["id"])
    changed[5]["tags"] = [["p", _flipped(event["tags"][0][1])]]
    changed[6]["kind"] += 1
    return [*changed, event]


def test_forged_events_are_dropped_and_do_not_keep_the_true_one_out() -> None:
    async def body() -> None:
        async with OddRelay(_forgeries).running() as relay, members(2, relay.url) as (alice, bob):
            for number in range(5):
                await alice.reaches(bob, b"%d" % number)
            assert bob.inbox.empty()

    run(body())


def test_repeated_and_reordered_events_arrive_once() -> None:
    held: list[Event] = []
    chance = random.Random(1)

    def treat(event: Event) -> Sequence[Event]:
        held.append(event)
        if len(held) % 4:
            return []
        repeated = held * 3
        chance.shuffle(repeated)
        return repeated

    async def body() -> None:
        async with (
            OddRelay(treat).running() as odd,
            local_relay() as honest,
            members(2, odd.url, honest.url) as (alice, bob),
        ):
            sent = {b"%d" % number for number in range(8)}
            for payload in sorted(sent):
                alice.send(bob, payload)
            assert {(await bob.receive())[1] for _ in sent} == sent
            await alice.reaches(bob, b"last")
            assert bob.inbox.empty()

    run(body())


def test_a_relay_that_drops_everything_is_made_up_for() -> None:
    async def body() -> None:
        async with (
            OddRelay(lambda _event: []).running() as odd,
            local_relay() as honest,
            members(2, odd.url, honest.url) as (alice, bob),
        ):
            await alice.reaches(bob, b"hello")
            assert odd.received

    run(body())


def test_events_for_others_are_not_taken() -> None:
    """The relay passes everything to everybody."""

    async def body() -> None:
        async with (
            OddRelay().running() as relay,
            members(3, relay.url) as (alice, bob, carol),
        ):
            alice.send(bob, b"for Bob")
            await alice.reaches(carol, b"for Carol")
            assert (await bob.receive())[1] == b"for Bob"
            assert bob.inbox.empty()
            assert carol.inbox.empty()

    run(body())


def test_a_flood_from_one_relay_does_not_keep_messages_of_another_out() -> None:
    """The flood is well-formed: only costly verification would tell that it is forged."""

    async def body() -> None:
        async with (
            OddRelay().running() as odd,
            local_relay() as honest,
            members(2, odd.url, honest.url) as (alice, bob),
        ):
            await alice.reaches(bob, b"before")
            (true_event,) = odd.received

            async def flood() -> None:
                number = 0
                while True:
                    forged = [true_event | {"id": f"{number * 50 + i:064x}"} for i in range(50)]
                    number += 1
                    await odd.broadcast(forged)
                    await asyncio.sleep(0)

            flooding = asyncio.create_task(flood())
            try:
                for number in range(10):
                    await alice.reaches(bob, b"%d" % number)
            finally:
                flooding.cancel()
                await asyncio.gather(flooding, return_exceptions=True)

    run(body())


def test_strangers_that_flood_do_not_keep_out_whom_we_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one and the same relay: what may be verified of strangers is used up."""
    monkeypatch.setattr(nostr_link, "EVENT_RATE", 0.001)

    async def body() -> None:
        async with (
            OddRelay().running() as relay,
            members(3, relay.url) as (alice, bob, carol),
        ):
            await alice.reaches(bob, b"before")
            bob.channel.befriend(alice.key.public)
            (event,) = relay.received
            await relay.broadcast([event | {"id": f"{n:064x}", "pubkey": f"{n:064x}"} for n in range(500)])
            carol.send(bob, b"lost")
            await until(lambda: len(relay.received) == 2)
            await alice.reaches(bob, b"after")

    run(body())


def test_a_sender_that_floods_is_held_back() -> None:
    async def body() -> None:
        async with (
            OddRelay().running() as relay,
            members(3, relay.url) as (alice, bob, carol),
        ):
            for number in range(60):
                alice.send(bob, b"%d" % number)
            await alice.links[0].drain()
            carol.send(bob, b"hello")
            got = []
            while (received := await bob.receive())[0] != carol.key.public:
                got.append(received)
            assert 20 <= len(got) < 40

    run(body())


def _garbage(subscription: str) -> list[str]:
    return [
        "",
        "[]",
        "{}",
        "null",
        "[" * 5000,
        '["EVENT"]',
        json.dumps(["EVENT", subscription]),
        json.dumps(["EVENT", subscription, {}]),
        json.dumps(["EVENT", subscription, {"id": 5}]),
        json.dumps(["EVENT", "other", {}]),
        json.dumps(["OK"]),
        json.dumps(["OK", "id", "yes", 7]),
        json.dumps(["NOTICE", "\x1b[2J" + "x" * 10_000]),
        json.dumps(["CLOSED", "other", "no"]),
        json.dumps(["COUNT", subscription, {"count": 1}]),
    ]


def test_garbage_from_a_relay_does_no_harm() -> None:
    async def body() -> None:
        async with (
            OddRelay(greet=_garbage).running() as relay,
            members(2, relay.url) as (alice, bob),
        ):
            await alice.reaches(bob, b"hello")

    run(body())


def test_a_relay_that_asks_who_we_are_is_told() -> None:
    async def body() -> None:
        async with (
            OddRelay(password_of="challenge-1").running() as relay,
            members(2, relay.url) as (alice, bob),
        ):
            await alice.reaches(bob, b"hello")

    run(body())


def test_what_a_relay_says_against_our_events_is_told() -> None:
    async def body() -> None:
        async with OddRelay(refuse="blocked: \x1b[2J not here").running() as relay, member(1, relay.url) as alice:
            alice.send(alice, b"hello")
            await until(lambda: bool(nostr_channel.problems(alice.links)))
            (problem,) = nostr_channel.problems(alice.links)
            assert problem.code is ErrorCode.RELAY_DENIED
            assert "not here" in problem.message
            assert "\x1b" not in problem.message

    run(body())


@pytest.mark.parametrize(
    "frames",
    [
        ['["CLOSED","irosh","restricted: members only"]'],
        ['["AUTH","again"]'] * 10,
        ["x" * 100_000],
    ],
)
def test_relays_that_will_not_do_are_left(frames: list[str]) -> None:
    async def body() -> None:
        async with (
            OddRelay(greet=lambda _subscription: frames).running() as relay,
            member(1, relay.url, up=False) as alice,
        ):
            await until(lambda: "not answered yet" not in str(alice.links[0].problem()))
            await until(lambda: not alice.links[0].is_up)
            problem = alice.links[0].problem()
            assert problem is not None
            assert problem.code is ErrorCode.RELAY_UNREACHABLE

    run(body())


def test_what_is_no_nostr_relay_is_told() -> None:
    async def body() -> None:
        async with web_server() as port, member(1, f"ws://127.0.0.1:{port}", up=False) as alice:
            await until(lambda: "no Nostr relay" in str(alice.links[0].problem()))

    run(body())


def test_a_relay_of_ones_own_keeps_nothing() -> None:
    async def body() -> None:
        keys = nostr_sdk.Keys.generate()
        async with local_relay() as relay, connect(relay.url, proxy=None) as websocket:
            for kind, taken in [(1, False), (4, False), (20_000, True), (29_999, True), (30_000, False)]:
                event = nostr_sdk.EventBuilder(nostr_sdk.Kind(kind), "text").finalize(keys)
                await websocket.send(f'["EVENT",{event.as_json()}]')
                assert json.loads(await websocket.recv())[2] is taken
            await websocket.send('["REQ","all",{}]')
            assert json.loads(await websocket.recv()) == ["EOSE", "all"]

    run(body())


def test_relays_are_left_when_nobody_uses_them() -> None:
    async def body() -> None:
        async with OddRelay().running() as relay, member(3, relay.url) as carol:
            async with carol.channel.using([relay.url]) as again:
                assert again == carol.links
            async with member(1, relay.url):
                assert len(relay.subscribers) == 2
            await until(lambda: len(relay.subscribers) == 1)
            assert carol.links[0].is_up

    run(body())
