"""Mode iroh-manual: two nodes meet by blocks that a test carries, behind NATs of all kinds, with no third party."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.identity import Identity
from irosh.core.manual_message import decode_addresses, encode_addresses
from irosh.core.network_options import NetworkOptions
from irosh.core.offer_block import Answer, Offer, encode_answer, encode_offer, read_offer
from irosh.rendezvous.interfaces import Contact
from irosh.rendezvous.iroh_manual import IrohManual
from tests.lab.coturn import coturn
from tests.lab.machine import LOCAL, Machine, end_group
from tests.lab.nat import NatKind
from tests.lab.network import Network
from tests.lab.requirements import requires, requires_netns
from tests.lab.topologies import Internet, one_carrier, two_nats

ROOT = Path(__file__).parents[2]
DEADLINE = 40.0
ANY = "0.0.0.0:0"
LOOPBACK = "127.0.0.1:0"


def in_namespaces(function: Any) -> Any:
    """Marks of a test that needs a laboratory."""
    for mark in (pytest.mark.netns, requires_netns(), requires("turnserver")):
        function = mark(function)
    return function


class Peer:
    """``tests.support.manual_peer`` on a machine."""

    def __init__(self, machine: Machine, role: str, *stun: str, bind: str = ANY) -> None:
        self.identity = Identity.generate()
        self.events: list[dict[str, Any]] = []
        self._seen = 0
        self._changed = threading.Condition()
        command = (sys.executable, "-m", "tests.support.manual_peer", role, self.identity.secret.hex(), bind, *stun)
        self.process = machine.popen(
            *command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            environment={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONWARNINGS": "error"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._changed:
                    self.events.append(json.loads(line))
                    self._changed.notify_all()
        with self._changed:
            self.events.append({"gone": True})
            self._changed.notify_all()

    def wait(self, key: str, timeout: float = DEADLINE) -> dict[str, Any]:
        """The next event with ``key``, after those that earlier waits returned."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                for number in range(self._seen, len(self.events)):
                    if key in self.events[number]:
                        self._seen = number + 1
                        return self.events[number]
                left = deadline - time.monotonic()
                assert left > 0 and self._changed.wait(left), f"no {key!r} within {timeout:g} s: {self.events}"

    def shown(self) -> str:
        """The next block it shows."""
        block: str = self.wait("show")["block"]
        return block

    def paste(self, text: str) -> None:
        """Answer the next question."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(text).encode() + b"\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        end_group(self.process)
        self._reader.join()


@contextmanager
def peers(
    host: Machine, client: Machine, *stun: str, bind: str = ANY, role: str = "dial"
) -> Iterator[tuple[Peer, Peer]]:
    """A host and a client."""
    one, other = Peer(host, "host", *stun, bind=bind), Peer(client, role, *stun, bind=bind)
    try:
        yield one, other
    except BaseException as error:
        error.add_note(f"host: {one.events}\nclient: {other.events}")
        raise
    finally:
        one.close()
        other.close()


def check_connected(host: Peer, client: Peer) -> None:
    """Both are in the same, only session, which stays open."""
    assert client.wait("connected")["connected"] == host.identity.id
    assert host.wait("connected")["connected"] == client.identity.id
    assert client.wait("still_open")["still_open"]
    sessions = [event for event in host.events if "connected" in event]
    assert len(sessions) == 1, host.events


def test_on_one_machine_no_answer_is_needed() -> None:
    with peers(LOCAL, LOCAL, bind=LOOPBACK) as (host, client):
        client.paste(f"here it is:\n{host.shown()}\nbye")
        met = client.wait("connected")
        assert met["connected"] == host.identity.id
        assert met["invite"] == "07" * 32
        assert not [event for event in client.events if "show" in event]
        assert client.wait("still_open")["still_open"]


CASES = [
    (NatKind.NONE, NatKind.SYMMETRIC),
    (NatKind.FULL_CONE, NatKind.FULL_CONE),
    (NatKind.ADDRESS_RESTRICTED, NatKind.PORT_RESTRICTED),
    (NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED),
    (NatKind.PORT_RESTRICTED, NatKind.NONE),
    (NatKind.SYMMETRIC, NatKind.NONE),
    (NatKind.SYMMETRIC, NatKind.FULL_CONE),
    (NatKind.FULL_CONE, NatKind.SYMMETRIC),
    (NatKind.SYMMETRIC, NatKind.ADDRESS_RESTRICTED),
    (NatKind.ADDRESS_RESTRICTED, NatKind.SYMMETRIC),
]


@in_namespaces
@pytest.mark.parametrize(("host_kind", "client_kind"), CASES)
def test_nats_that_can_be_punched(host_kind: NatKind, client_kind: NatKind) -> None:
    with Network() as network:
        place = two_nats(network, host_kind, client_kind)
        with (
            coturn(place.server) as server,
            peers(place.alice.host, place.bob.host, server.stun) as (host, client),
        ):
            client.paste(host.shown())
            if host_kind not in (NatKind.NONE, NatKind.FULL_CONE):
                host.paste(client.shown())
            check_connected(host, client)


@in_namespaces
def test_a_carrier_that_hairpins_and_one_home() -> None:
    with Network() as network:
        place = one_carrier(network, NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED, NatKind.FULL_CONE, hairpin=True)
        family = place.internet.home("family", NatKind.PORT_RESTRICTED, hosts=2)
        with coturn(place.server) as server:
            with peers(place.alice.host, place.bob.host, server.stun) as (host, client):
                client.paste(host.shown())
                host.paste(client.shown())
                check_connected(host, client)
            with peers(family.hosts[0], family.hosts[1], server.stun) as (host, client):
                client.paste(host.shown())
                check_connected(host, client)


@in_namespaces
def test_the_mapping_is_kept_while_a_person_pastes() -> None:
    with Network() as network:
        # Without packets from inside, the full cone lets nothing in any more after 11 seconds.
        place = two_nats(network, NatKind.FULL_CONE, NatKind.PORT_RESTRICTED, timeout=11)
        with (
            coturn(place.server) as server,
            peers(place.alice.host, place.bob.host, server.stun) as (host, client),
        ):
            offer = host.shown()
            time.sleep(14)
            client.paste(offer)
            check_connected(host, client)


@in_namespaces
def test_after_an_outage_both_sides_find_each_other_without_new_blocks() -> None:
    with Network() as network:
        place = two_nats(network, NatKind.PORT_RESTRICTED, NatKind.PORT_RESTRICTED, timeout=15)
        with (
            coturn(place.server) as server,
            peers(place.alice.host, place.bob.host, server.stun, role="redial") as (host, client),
        ):
            client.paste(host.shown())
            host.paste(client.shown())
            client.wait("connected")
            cut = place.internet.router.block_udp()
            client.wait("lost", timeout=60)
            cut.lift()
            client.wait("connected", timeout=60)


@in_namespaces
def test_one_host_serves_several_clients() -> None:
    with Network() as network:
        internet = Internet(network)
        kinds = [NatKind.PORT_RESTRICTED, NatKind.FULL_CONE, NatKind.NONE]
        homes = [internet.home(f"home{number}", kind) for number, kind in enumerate(kinds)]
        place = internet.home("host", NatKind.PORT_RESTRICTED)
        with coturn(internet.server) as server:
            host = Peer(place.host, "host", server.stun)
            clients = [Peer(home.host, "dial", server.stun) for home in homes]
            try:
                for client in clients:
                    client.paste(host.shown())
                    host.paste(client.shown())
                for client in clients:
                    assert client.wait("still_open")["still_open"]
                met = {event["connected"] for event in host.events if "connected" in event}
                assert met == {client.identity.id for client in clients}
                assert not [event for event in host.events if "note" in event]
            finally:
                for peer in (host, *clients):
                    peer.close()


@in_namespaces
def test_on_a_lan_neither_stun_nor_an_answer_is_needed() -> None:
    with Network() as network:
        one, other = network.host("one"), network.host("other")
        network.lan("10.3.0.0/24", one, other)
        with peers(one, other) as (host, client):
            offer = host.shown()
            found = read_offer(offer, mode="iroh-manual", own=Identity.generate().id, now=time.time())
            (address,) = decode_addresses(found.body)
            assert address.startswith(f"{one.address}:")
            client.paste(offer)
            check_connected(host, client)


@in_namespaces
def test_an_answer_is_enough_where_only_the_client_can_be_reached() -> None:
    with Network() as network:
        place = two_nats(network, NatKind.PORT_RESTRICTED, NatKind.NONE)
        with peers(place.alice.host, place.bob.host) as (host, client):  # without STUN the host knows no outer address
            client.paste(host.shown())
            host.paste(client.shown())
            check_connected(host, client)


def test_a_silent_stun_server_is_a_problem_but_no_obstacle() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        server = f"127.0.0.1:{mute.getsockname()[1]}"
        with peers(LOCAL, LOCAL, server, bind=LOOPBACK) as (host, client):
            assert host.wait("problem")["problem"] == "stun-unreachable"
            host._seen = 0
            client.paste(host.shown())
            assert client.wait("still_open")["still_open"]


def test_bad_answers_are_said_and_asked_for_again() -> None:
    host = Peer(LOCAL, "host", bind=LOOPBACK)
    identity = Identity.generate()
    try:
        block = host.shown()
        offer = read_offer(block, mode="iroh-manual", own=identity.id, now=time.time())
        good = answer_to(offer, identity, ("127.0.0.1:9",))
        other = Offer("iroh-manual", offer.sender, offer.expires_at, offer.body)
        bad = {
            "": "invalid-block",
            "rubbish": "invalid-block",
            good[:-120]: "invalid-block",
            good.replace(good[60:70], good[70:80]): "invalid-block",
            block: "block-mismatch",
            answer_to(other, identity, ()): "block-mismatch",
            answer_to(offer, identity, ("0.0.0.0:9",)): "invalid-block",
            answer_to(offer, identity, ("127.0.0.1:9",) * 25): "invalid-block",
        }
        for text, code in bad.items():
            host.paste(text)
            assert host.wait("note")["note"] == code
        host.paste(f"> {good}".replace("\n", "\r\n> "))
        assert host.shown() != block
        host.paste(good)  # nobody is connected yet, so that it may be tried again
        assert "note" not in host.wait("show")
    finally:
        host.close()


def answer_to(offer: Offer, identity: Identity, addresses: tuple[str, ...]) -> str:
    """An answer that names ``addresses``, whatever they are."""
    body = encode_addresses(addresses[:24])
    if len(addresses) > 24:
        body = b"\x91\xdc" + len(addresses).to_bytes(2, "big") + b"\xab127.0.0.1:9" * len(addresses)
    answer = Answer("iroh-manual", identity.id, offer.expires_at, body, offer.digest, offer.sender)
    return encode_answer(answer, identity)


def test_bad_offers_are_said_and_asked_for_again() -> None:
    identity = Identity.generate()
    with peers(LOCAL, LOCAL, bind=LOOPBACK) as (host, client):
        now = int(time.time())
        bad = {
            "rubbish": "invalid-block",
            encode_offer(Offer("iroh-manual", identity.id, now - 900, b""), identity): "block-expired",
            encode_offer(Offer("custom", identity.id, now + 900, b""), identity): "block-mismatch",
            encode_offer(Offer("iroh-manual", identity.id, now + 900, b"\x00"), identity): "invalid-block",
        }
        for text, code in bad.items():
            client.paste(text)
            assert client.wait("note")["note"] == code
        client.paste(host.shown())
        assert client.wait("still_open")["still_open"]


def test_a_used_answer_is_refused_and_the_host_goes_on() -> None:
    with peers(LOCAL, LOCAL, bind=LOOPBACK) as (host, client):
        block = host.shown()
        offer = read_offer(block, mode="iroh-manual", own=client.identity.id, now=time.time())
        answer = answer_to(offer, client.identity, ("127.0.0.1:9",))
        host.paste(answer)
        assert host.shown() != block
        client.paste(block)
        assert host.wait("connected")["connected"] == client.identity.id
        host.paste(answer)
        assert host.wait("note")["note"] == "block-mismatch"


def test_nothing_is_left_when_nobody_pastes_any_more() -> None:
    with peers(LOCAL, LOCAL, bind=LOOPBACK) as (host, client):
        host.shown()
        client.wait("ask")
        assert client.process.stdin is not None
        client.process.stdin.close()
        assert client.wait("failed")["failed"] == "usage"
        client.wait("ended")
        client.process.wait(10)


def test_only_relays_is_not_for_this_mode() -> None:
    with pytest.raises(IroshError) as error:
        asyncio.run(IrohManual.start(Identity.generate(), NetworkOptions(relay_only=True), None))
    assert error.value.code is ErrorCode.USAGE


def test_without_anybody_to_ask_a_dial_fails_at_once_and_leaves_nothing() -> None:
    async def body() -> None:
        manual = await IrohManual.start(Identity.generate(), NetworkOptions(stun_servers=(), bind=LOOPBACK), None)
        with pytest.raises(IroshError) as error:
            await manual.dial(Contact(Identity.generate().id), None)
        assert error.value.code is ErrorCode.UNREACHABLE
        await manual.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(body())
