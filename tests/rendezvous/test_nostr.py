"""Mode nostr with real relays, real ICE and real QUIC, all on this machine."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.network_options import NetworkOptions
from irosh.core.nostr_frames import EVENT_KIND
from irosh.core.nostr_key import NostrKey
from irosh.rendezvous import nostr_dial, nostr_link
from irosh.rendezvous.interfaces import Contact, Hosting
from irosh.rendezvous.nostr import Nostr
from irosh.rendezvous.nostr_relay import NostrRelay
from irosh.transport.interfaces import Connection
from tests.support.nostr import DEADLINE, Event, OddRelay, closed_port, local_relay, nostr_key
from tests.support.relay_client import run, until
from tests.support.sockets import reserved_port

HOST = Identity.from_secret(b"h" * 32)
RECEIVERS = [Identity.from_secret(bytes((number,)) * 32) for number in range(1, 13)]
ALICE, BOB = RECEIVERS[:2]
STRANGER = Identity.from_secret(b"s" * 32)


def options(*relays: str) -> NetworkOptions:
    return NetworkOptions(relays=(), stun_servers=(), nostr_relays=relays, mdns=False)


@asynccontextmanager
async def receiver(identity: Identity, *relays: str) -> AsyncIterator[Nostr]:
    nostr = await Nostr.start(identity, options(*relays))
    try:
        yield nostr
    finally:
        await nostr.close()


@dataclass
class Host:
    nostr: Nostr
    accepted: list[Connection]

    def contact(self) -> Contact:
        return self.nostr.contact()


@asynccontextmanager
async def host(*relays: str, max_sessions: int = 10) -> AsyncIterator[Host]:
    """A host that knows the receivers, and accepts all it is given."""
    hosting = Hosting(None, lambda: None, {identity.id for identity in RECEIVERS}.__contains__)
    nostr = await Nostr.start(HOST, replace(options(*relays), max_sessions=max_sessions), hosting)
    accepted: list[Connection] = []

    async def accept() -> None:
        while (connection := await nostr.accept()) is not None:
            accepted.append(connection)
            del connection  # the engine keeps a UDP port for as long as there is an object of its connection

    accepting = asyncio.create_task(accept())
    try:
        yield Host(nostr, accepted)
    finally:
        await nostr.close()
        await accepting
        assert nostr.sessions == 0


async def dialled(nostr: Nostr, contact: Contact) -> Connection:
    async with asyncio.timeout(2 * DEADLINE):
        return (await nostr.dial(contact)).connection


async def refused(nostr: Nostr, contact: Contact) -> IroshError:
    with pytest.raises(IroshError) as error:
        await dialled(nostr, contact)
    return error.value


async def works(at: Host, connection: Connection) -> None:
    """Bytes go both ways over the host's end of ``connection``."""
    await until(lambda: any(not each.is_closed for each in at.accepted))
    async with asyncio.timeout(DEADLINE):
        stream = await connection.open_stream()
        await stream.write(b"ping")
        await stream.finish()
        (theirs,) = [each for each in at.accepted if not each.is_closed]
        other = await theirs.accept_stream()
        assert await other.read_exactly(4) == b"ping"
        await other.write(b"pong")
        await other.finish()
        assert await stream.read_exactly(4) == b"pong"


async def meet(nostr: Nostr, at: Host) -> None:
    """Connect, use the connection, close it, and see it gone on the host."""
    connection = await dialled(nostr, at.contact())
    assert connection.peer_id == HOST.id
    await until(lambda: at.nostr.sessions == 1)
    await works(at, connection)
    connection.close()
    await until(lambda: at.nostr.sessions == 0)
    at.accepted.clear()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_two_nodes_meet_and_leave_nothing_behind() -> None:
    async def body() -> None:
        async with local_relay() as a, local_relay() as b, host(a.url, b.url) as at, receiver(ALICE) as alice:
            await meet(alice, at)
            before = descriptors()  # now that the engine's own are among them
            await meet(alice, at)
            await until(lambda: descriptors() <= before)

    run(body())


def test_an_npub_is_enough() -> None:
    async def body() -> None:
        async with local_relay() as relay, host(relay.url) as at, receiver(ALICE, relay.url) as alice:
            connection = await dialled(alice, Contact(None, npub=at.nostr.npub))
            assert connection.peer_id == HOST.id
            connection.close()

    run(body())


def test_one_of_three_relays_is_killed_on_the_way() -> None:
    async def body() -> None:
        async with local_relay() as a, local_relay() as b, AsyncExitStack() as running:
            dying = await running.enter_async_context(local_relay())
            async with host(a.url, b.url, dying.url) as at, receiver(ALICE) as alice, receiver(BOB) as bob:
                connection = await dialled(alice, at.contact())
                await running.aclose()
                await works(at, connection)
                connection.close()
                second = await dialled(bob, at.contact())
                await until(lambda: at.nostr.sessions == 1)
                await works(at, second)
                problems = await at.nostr.problems()
                assert [problem.code for problem in problems] == [ErrorCode.RELAY_UNREACHABLE]
                assert dying.url in problems[0].message
                second.close()

    run(body())


def test_relays_that_come_up_late_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nostr_link, "BACKOFF_MOST", 0.5)

    async def body() -> None:
        with reserved_port() as port:
            async with host(f"ws://127.0.0.1:{port}") as at, receiver(ALICE) as alice:
                dialling = asyncio.create_task(dialled(alice, at.contact()))
                async with NostrRelay("127.0.0.1", port):
                    connection = await dialling
                    connection.close()

    run(body())


def chaos(seed: int) -> Callable[[Event], Sequence[Event]]:
    """Loses, repeats, holds back and reorders events, and puts forged ones before them."""
    chance, held = random.Random(seed), list[Event]()

    def treat(event: Event) -> Sequence[Event]:
        forged = event | {"sig": "00" * 64}
        held.extend([event] * chance.choice([0, 1, 3]))
        chance.shuffle(held)
        out = [held.pop() for _ in range(chance.randint(0, len(held)))]
        return [forged, *out, forged, *out]

    return treat


@pytest.mark.parametrize("seed", [1, 2])
def test_a_hostile_relay_can_only_delay(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nostr_dial, "FIRST_REPEAT", 0.1)
    monkeypatch.setattr(nostr_dial, "LAST_REPEAT", 0.5)

    async def body() -> None:
        async with OddRelay(chaos(seed)).running() as relay, host(relay.url) as at, receiver(ALICE) as alice:
            for _ in range(3):
                await meet(alice, at)

    run(body())


def test_what_a_relay_has_recorded_opens_no_session() -> None:
    async def body() -> None:
        async with OddRelay().running() as relay, host(relay.url) as at:
            async with receiver(ALICE) as alice:
                connection = await dialled(alice, at.contact())
                await until(lambda: len(at.accepted) == 1)
                connection.close()
            await until(lambda: at.nostr.sessions == 0)
            recorded = list(relay.received)
            assert {event["kind"] for event in recorded} == {EVENT_KIND}
            await relay.broadcast(recorded * 3)
            # Whatever the host would have made of it comes before its answer to the next.
            async with receiver(BOB) as bob:
                connection = await dialled(bob, at.contact())
                await until(lambda: len(at.accepted) == 2)
                connection.close()
            senders = {event["pubkey"] for event in relay.received[len(recorded) :]}
            assert senders == {NostrKey.derive(each.secret).public.hex() for each in (BOB, HOST)}
            await until(lambda: at.nostr.sessions == 0)
            assert [each.peer_id for each in at.accepted] == [ALICE.id, BOB.id]

    run(body())


def test_relays_see_neither_addresses_nor_identities() -> None:
    async def body() -> None:
        async with OddRelay().running() as relay, host(relay.url) as at, receiver(ALICE) as alice:
            (await dialled(alice, at.contact())).close()
            seen = str(relay.received)
            assert HOST.id not in seen
            assert ALICE.id not in seen
            assert " typ host" not in seen
            assert all(event["tags"][0][0] == "p" and len(event["tags"]) == 1 for event in relay.received)

    run(body())


def test_a_stranger_is_told() -> None:
    async def body() -> None:
        async with local_relay() as relay, host(relay.url) as at, receiver(STRANGER) as stranger:
            error = await refused(stranger, at.contact())
            assert error.code is ErrorCode.UNKNOWN_PEER
            assert at.nostr.sessions == 0
            # With an invite it gets as far as the node, which decides.
            connection = await dialled(stranger, replace(at.contact(), invite=b"i" * 16))
            connection.close()

    run(body())


def test_another_identity_behind_the_npub_is_noticed() -> None:
    async def body() -> None:
        async with local_relay() as relay, host(relay.url) as at, receiver(ALICE) as alice:
            error = await refused(alice, replace(at.contact(), endpoint_id=BOB.id))
            assert error.code is ErrorCode.IDENTITY_MISMATCH
            assert HOST.id[:10] in error.message
            await until(lambda: at.nostr.sessions == 0)

    run(body())


def test_silence_is_told_and_what_may_be_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nostr_dial, "ANSWER_DEADLINE", 1.0)

    async def body() -> None:
        dead = closed_port()
        npub = nostr_key(77).npub
        async with local_relay() as relay, receiver(ALICE) as alice:
            error = await refused(alice, Contact(None, npub=npub, nostr_relays=(relay.url, dead)))
            assert error.code is ErrorCode.UNREACHABLE
            assert npub in error.message
            assert relay.url in error.message
            assert f"not to be reached: {dead}" in error.message
            error = await refused(alice, Contact(None, npub=npub, nostr_relays=(dead,)))
            assert error.code is ErrorCode.RELAY_UNREACHABLE
            assert dead in error.message
            async with OddRelay(refuse="blocked: not on the list").running() as odd:
                error = await refused(alice, Contact(None, npub=npub, nostr_relays=(odd.url,)))
                assert error.code is ErrorCode.RELAY_DENIED
                assert "not on the list" in error.message

    run(body())


def test_contacts_that_cannot_be_dialled() -> None:
    async def body() -> None:
        async with receiver(ALICE, "ws://127.0.0.1:1") as alice, receiver(BOB) as bob:
            for contact in (Contact(HOST.id), Contact(None, npub="npub1x"), alice.contact()):
                assert (await refused(alice, contact)).code is ErrorCode.UNKNOWN_TARGET
            assert (await refused(bob, Contact(None, npub=alice.npub))).code is ErrorCode.USAGE
        with pytest.raises(IroshError) as error:
            await Nostr.start(HOST, options(), Hosting(None, lambda: None, lambda _: True))
        assert error.value.code is ErrorCode.USAGE

    run(body())


def test_a_nostr_key_of_ones_own(tmp_path: Path) -> None:
    async def body() -> None:
        own = nostr_key(42)
        file = tmp_path / "nsec"
        file.write_text(own.secret.hex())
        file.chmod(0o600)
        async with local_relay() as relay, receiver(ALICE) as alice:
            hosting = Hosting(None, lambda: None, lambda _: True)
            nostr = await Nostr.start(HOST, replace(options(relay.url), nsec_file=file), hosting)
            try:
                assert nostr.contact() == Contact(HOST.id, npub=own.npub, nostr_relays=(relay.url,))
                assert NostrKey.derive(HOST.secret).npub != own.npub
                connection = await dialled(alice, nostr.contact())
                assert connection.peer_id == HOST.id
                connection.close()
            finally:
                await nostr.close()
            file.chmod(0o644)
            with pytest.raises(IroshError) as error:
                await Nostr.start(HOST, replace(options(relay.url), nsec_file=file), hosting)
            assert error.value.code is ErrorCode.KEY_UNSAFE

    run(body())


def test_two_machines_may_share_a_nostr_key(tmp_path: Path) -> None:
    """The answer of the wrong one is not taken for that of the right one."""

    async def body() -> None:
        file = tmp_path / "nsec"
        file.write_text(nostr_key(42).secret.hex())
        file.chmod(0o600)
        async with local_relay() as relay, receiver(ALICE) as alice:
            hosting = Hosting(None, lambda: None, lambda _: True)
            settings = replace(options(relay.url), nsec_file=file)
            nodes = [await Nostr.start(identity, settings, hosting) for identity in (HOST, BOB)]
            try:
                for node in nodes:
                    connection = await dialled(alice, node.contact())
                    assert connection.peer_id == node.contact().endpoint_id
                    connection.close()
            finally:
                for node in nodes:
                    await node.close()

    run(body())


def test_a_dial_that_is_given_up_is_cleaned_up() -> None:
    async def body() -> None:
        async with OddRelay().running() as relay, host(relay.url) as at, receiver(ALICE) as alice:
            await meet(alice, at)
            before = descriptors()
            dialling = asyncio.create_task(alice.dial(at.contact()))
            await until(lambda: at.nostr.sessions == 1)
            dialling.cancel()
            await asyncio.gather(dialling, return_exceptions=True)
            await until(lambda: at.nostr.sessions == 0)
            await until(lambda: descriptors() <= before)

    run(body())


def test_ten_at_once_and_one_more() -> None:
    async def body() -> None:
        async with local_relay() as a, local_relay() as b, AsyncExitStack() as running:
            at = await running.enter_async_context(host(a.url, b.url))
            nodes = [await running.enter_async_context(receiver(identity)) for identity in RECEIVERS[:11]]
            await meet(nodes[0], at)
            before = descriptors()
            connections = await asyncio.gather(*(dialled(node, at.contact()) for node in nodes[:10]))
            await until(lambda: len(at.accepted) == 10)
            assert {each.peer_id for each in at.accepted} == {identity.id for identity in RECEIVERS[:10]}
            error = await refused(nodes[10], at.contact())
            assert error.code is ErrorCode.BUSY
            assert "10" in error.message
            assert not any(connection.is_closed for connection in connections)
            connections[0].close()
            await until(lambda: at.nostr.sessions == 9)
            assert [each.is_closed for each in at.accepted].count(True) == 1
            connections.append(await dialled(nodes[10], at.contact()))
            while connections:
                connections.pop().close()
            await until(lambda: at.nostr.sessions == 0)
            at.accepted.clear()
            await until(lambda: descriptors() <= before)

    run(body())
