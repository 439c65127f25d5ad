"""Mode custom by hand, between nodes in one process: blocks, invites, what bad ones do, and what is left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.network_options import NetworkOptions
from irosh.core.offer_block import Offer, encode_offer
from irosh.rendezvous import custom_host
from irosh.rendezvous.custom import Custom
from irosh.rendezvous.interfaces import Contact, Hosting, Meeting
from irosh.transport.interfaces import Connection
from tests.support.exchanges import Hand
from tests.support.stun_server import refusing, stun_server
from tests.support.traceless import run

OPTIONS = NetworkOptions(relays=(), stun_servers=(), bind="127.0.0.1:0")
INVITE = b"one-time secrets"
WHOEVER = Contact(None)


@dataclass
class Host:
    identity: Identity
    custom: Custom
    hand: Hand

    async def accepted(self) -> Connection:
        connection = await self.custom.accept()
        assert connection is not None
        return connection


@asynccontextmanager
async def hosting(invite: bytes | None = INVITE) -> AsyncIterator[Host]:
    identity, hand = Identity.generate(), Hand()
    custom = await Custom.start(identity, OPTIONS, Hosting(hand, lambda: invite, lambda _id: False))
    try:
        yield Host(identity, custom, hand)
    finally:
        await custom.close()


@asynccontextmanager
async def client() -> AsyncIterator[tuple[Custom, Identity]]:
    identity = Identity.generate()
    custom = await Custom.start(identity, OPTIONS, None)
    try:
        yield custom, identity
    finally:
        await custom.close()


@asynccontextmanager
async def dialling(custom: Custom, hand: Hand, contact: Contact = WHOEVER) -> AsyncIterator[asyncio.Task[Meeting]]:
    """A dial under way; its connection is closed in the end."""
    task = asyncio.create_task(custom.dial(contact, hand))
    try:
        yield task
    finally:
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, Meeting):
            result.connection.close()


async def echo(near: Connection, far: Connection) -> None:
    """Bytes go both ways."""
    stream = await near.open_stream()
    await stream.write(b"ping")
    accepted = await far.accept_stream()
    assert await accepted.read_exactly(4) == b"ping"
    await accepted.write(b"pong")
    assert await stream.read_exactly(4) == b"pong"


def test_offer_and_answer_by_hand() -> None:
    async def body() -> None:
        hand = Hand()
        async with hosting() as host, client() as (custom, identity), dialling(custom, hand) as dial:
            hand.paste("> Hello, here:\n" + (await host.hand.next("offer")).replace("\n", "\r\n> "))
            host.hand.paste(await hand.next("answer"))
            meeting = await dial
            accepted = await host.accepted()
            assert meeting.connection.peer_id == host.identity.id
            assert accepted.peer_id == identity.id
            assert meeting.invite == INVITE
            await echo(meeting.connection, accepted)
            assert not any(path.relayed for path in accepted.paths())

    run(body)


def test_sessions_run_side_by_side_and_one_ends_without_the_others() -> None:
    async def body() -> None:
        async with hosting() as host, client() as (first, _), client() as (second, _):
            hands = Hand(), Hand()
            async with dialling(first, hands[0]) as one, dialling(second, hands[1]) as two:
                connections = []
                for hand, dial in zip(hands, (one, two), strict=True):
                    hand.paste(await host.hand.next("offer"))
                    host.hand.paste(await hand.next("answer"))
                    connections.append(((await dial).connection, await host.accepted()))
                connections[0][0].close()
                await connections[0][1].wait_closed()
                await echo(*connections[1])
                await host.hand.next("offer")  # for the next one

    run(body)


def test_the_expected_host_and_no_other() -> None:
    async def body() -> None:
        hand = Hand()
        other = Identity.generate()
        async with hosting() as host, client() as (custom, _):
            offer = await host.hand.next("offer")
            async with dialling(custom, hand, Contact(other.id)):
                hand.paste(offer)
                assert (await hand.notes.get()).code is ErrorCode.IDENTITY_MISMATCH
            async with dialling(custom, hand, Contact(host.identity.id)) as dial:
                hand.paste(offer)
                host.hand.paste(await hand.next("answer"))
                assert (await dial).connection.peer_id == host.identity.id
                await host.accepted()

    run(body)


def test_a_host_says_what_is_wrong_with_an_answer_and_the_offer_stays_good() -> None:
    async def body() -> None:
        hand, stale_hand = Hand(), Hand()
        async with hosting() as host, client() as (custom, _):
            offer = await host.hand.next("offer")
            async with dialling(custom, stale_hand):
                # An answer to another host's offer.
                other = Identity.generate()
                foreign = Offer("custom", other.id, int(time.time()) + 60, b"")
                stale_hand.paste(encode_offer(foreign, other))
                assert "ICE description" in (await stale_hand.notes.get()).message
            async with dialling(custom, hand) as dial:
                hand.paste(offer)
                answer = await hand.next("answer")
                for text, code in (
                    ("what?", ErrorCode.INVALID_BLOCK),
                    (answer[:-40], ErrorCode.INVALID_BLOCK),
                    (answer.replace("A", "B", 1) if "A" in answer[30:] else answer[1:], ErrorCode.INVALID_BLOCK),
                    (offer, ErrorCode.BLOCK_MISMATCH),
                ):
                    host.hand.paste(text)
                    assert (await host.hand.notes.get()).code is code
                host.hand.paste(answer)
                await dial
                await host.accepted()
                # The answer again: it belongs to an offer that is used up.
                await host.hand.next("offer")
                host.hand.paste(answer)
                assert (await host.hand.notes.get()).code is ErrorCode.BLOCK_MISMATCH

    run(body)


def test_a_client_says_what_is_wrong_with_an_offer() -> None:
    async def body() -> None:
        hand = Hand()
        async with hosting() as host, client() as (custom, identity), dialling(custom, hand) as dial:
            offer = await host.hand.next("offer")
            own = Offer("custom", identity.id, int(time.time()) + 60, b"")
            old = Offer("custom", host.identity.id, int(time.time()) - 600, b"")
            manual = replace(old, mode="iroh-manual", expires_at=int(time.time()) + 60)
            for text, code in (
                ("", ErrorCode.INVALID_BLOCK),
                (encode_offer(own, identity), ErrorCode.BLOCK_MISMATCH),
                (encode_offer(old, host.identity), ErrorCode.BLOCK_EXPIRED),
                (encode_offer(manual, host.identity), ErrorCode.BLOCK_MISMATCH),
                (offer[:200], ErrorCode.INVALID_BLOCK),
            ):
                hand.paste(text)
                assert (await hand.notes.get()).code is code
            hand.leave()
            with pytest.raises(IroshError, match="the input ended"):
                await dial

    run(body)


def test_an_expired_offer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        hand = Hand()
        async with hosting() as host, client() as (custom, _), dialling(custom, hand) as dial:
            await host.hand.next("offer")
            monkeypatch.setattr(custom_host, "OFFER_LIFETIME", 600)
            hand.paste(await host.hand.next("offer"))
            host.hand.paste(await hand.next("answer"))
            await dial
            await host.accepted()

    monkeypatch.setattr(custom_host, "OFFER_LIFETIME", 0.2)
    run(body)


def test_nobody_left_to_paste_ends_the_offers_but_not_the_sessions() -> None:
    async def body() -> None:
        hand = Hand()
        async with hosting() as host, client() as (custom, _), dialling(custom, hand) as dial:
            hand.paste(await host.hand.next("offer"))
            host.hand.paste(await hand.next("answer"))
            meeting, accepted = await dial, await host.accepted()
            host.hand.leave()
            assert "input ended" in (await host.hand.notes.get()).message
            await echo(meeting.connection, accepted)

    run(body)


def test_a_host_knows_what_its_servers_did_not_do() -> None:
    async def body() -> None:
        async with stun_server(refusing) as server:
            options = replace(OPTIONS, stun_servers=(server.name,))
            custom = await Custom.start(Identity.generate(), options, Hosting(Hand(), lambda: None, lambda _id: False))
            assert [problem.code for problem in await custom.problems()] == [ErrorCode.STUN_UNREACHABLE]
            await custom.close()

    run(body)


def test_who_cannot_be_asked_is_told_so() -> None:
    async def body() -> None:
        with pytest.raises(IroshError, match="offers and answers"):
            await Custom.start(Identity.generate(), OPTIONS, Hosting(None, lambda: None, lambda _id: False))
        async with client() as (custom, _):
            with pytest.raises(IroshError, match="nobody can be asked"):
                await custom.dial(WHOEVER, None)
            assert await custom.accept() is None

    run(body)


@pytest.mark.parametrize("moment", ["asking", "waiting"])
def test_a_dial_that_is_given_up_leaves_nothing(moment: str) -> None:
    async def body() -> None:
        hand = Hand()
        async with hosting() as host, client() as (custom, _), dialling(custom, hand):
            offer = await host.hand.next("offer")
            if moment == "waiting":
                hand.paste(offer)
                await hand.next("answer")

    run(body)
