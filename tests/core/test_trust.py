"""The trust store: who is known, and what was decided about them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode
from irosh.core.trust import Peer, TrustStore
from tests.support.clock import Clock
from tests.support.failures import fails

ALICE = "a1" * 32
BOB = "b0" * 32
CAROL = "ca" * 32

SHELL = parse_capabilities(["shell"])
FILES = parse_capabilities(["files"])


def test_an_unknown_identity_is_nobody(store: TrustStore) -> None:
    assert store.get(ALICE) is None
    assert store.active(ALICE) is None
    assert store.standing(ALICE) == "unknown"
    assert store.standing("no id at all") == "unknown"
    assert store.peers() == []


def test_a_pinned_peer_is_remembered_by_the_next_process(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "irosh.db"
    granted = parse_capabilities(["shell", "forward:tcp://[::1]:*", "forward:unix:///run/a b/*.sock"])
    with TrustStore(path, clock=clock) as store:
        pinned = store.pin(ALICE, petname="laptop", origin="invite", capabilities=granted, expires_at=2e6)
    with TrustStore(path, clock=clock) as store:
        assert store.get(ALICE) == pinned
        assert store.active(ALICE) == pinned
    assert pinned == Peer(
        id=ALICE,
        petname="laptop",
        capabilities=granted,
        origin="invite",
        status="active",
        first_seen=clock.now,
        last_seen=None,
        expires_at=2e6,
        addresses=(),
        relays=(),
        remote_user=None,
    )
    assert pinned.to_dict()["capabilities"] == [str(capability) for capability in granted]


def test_peers_are_found_by_name_and_by_id(store: TrustStore) -> None:
    store.pin(ALICE, petname="Laptop", origin="manual")
    twin = ALICE[:20] + "f" * 44
    store.pin(twin, petname="twin", origin="manual")
    assert store.find("laptop") == store.get(ALICE)
    assert store.find(ALICE) == store.get(ALICE)
    assert store.find(ALICE.upper()) == store.get(ALICE)
    assert store.find(ALICE[:21]) == store.get(ALICE)
    assert store.find(twin[:21]) == store.get(twin)
    assert store.find(ALICE[:20]) is None, "two peers begin like this"
    assert store.find(ALICE[:7]) is None, "too short"
    assert store.find("%") is None
    assert store.find("") is None
    assert store.find("la\0ptop") is None
    assert [peer.petname for peer in store.peers()] == ["Laptop", "twin"]


def test_a_petname_has_one_owner(store: TrustStore) -> None:
    store.pin(ALICE, petname="home", origin="ticket")
    with fails(ErrorCode.NAME_TAKEN, ALICE):
        store.pin(BOB, petname="HOME", origin="ticket")
    assert store.get(BOB) is None
    store.pin(BOB, petname="work", origin="ticket")
    with fails(ErrorCode.NAME_TAKEN):
        store.rename(BOB, "Home")
    assert store.rename(ALICE, "Home").petname == "Home"
    assert store.rename(ALICE, "cabin").petname == "cabin"
    assert store.rename(BOB, "home").petname == "home"


def test_names_are_made_up_when_none_is_given(store: TrustStore) -> None:
    first = store.pin(ALICE, petname=None, origin="invite")
    assert first.petname == f"peer-{ALICE[:8]}"
    second = store.pin(ALICE[:8] + "0" * 56, petname=None, origin="invite")
    assert second.petname == f"peer-{ALICE[:8]}-2"
    assert store.pin(ALICE, petname=None, origin="invite").petname == first.petname
    assert store.free_petname("Web-01.example.com", BOB) == "web-01"
    store.pin(BOB, petname="web-01", origin="manual")
    assert store.free_petname("web-01", BOB) == "web-01"
    assert store.free_petname("web-01", CAROL) == "web-01-2"
    store.rename(BOB, "x" * 63)
    assert store.free_petname("x" * 80, CAROL) == "x" * 61 + "-2"
    assert store.free_petname("\x1b[31m", CAROL) == "31m"


@pytest.mark.parametrize("petname", ["", "-x", "a b", "a" * 64, ALICE, ALICE[:8], "irosh1abc", "a\n", "ä"])
def test_impossible_petnames_are_refused(store: TrustStore, petname: str) -> None:
    store.pin(ALICE, petname="good", origin="manual")
    with fails(ErrorCode.USAGE, "petname"):
        store.rename(ALICE, petname)
    with fails(ErrorCode.USAGE, "petname"):
        store.pin(BOB, petname=petname, origin="manual")
    assert [peer.petname for peer in store.peers()] == ["good"]


@pytest.mark.parametrize("peer_id", ["", "a1" * 31, ALICE.upper(), ALICE + "0", "laptop", "\ud800"])
def test_impossible_ids_are_refused(store: TrustStore, peer_id: str) -> None:
    with fails(ErrorCode.USAGE, "not an endpoint id"):
        store.pin(peer_id, petname="x", origin="manual")
    with fails(ErrorCode.USAGE, "not an endpoint id"):
        store.block(peer_id)
    assert store.get(peer_id) is None


def test_pinning_an_active_peer_again_adds(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL, expires_at=2e6)
    again = store.pin(ALICE, petname=None, origin="ticket", capabilities=[*FILES, *SHELL])
    assert again.capabilities == (*SHELL, *FILES)
    assert (again.origin, again.expires_at, again.petname) == ("invite", 2e6, "x")
    assert store.pin(ALICE, petname="y", origin="ticket", expires_at=3e6).expires_at == 3e6
    assert store.find("y") is not None
    assert store.find("x") is None


def test_revoking_holds_until_pinned_again_and_then_only_the_new_counts(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    assert store.revoke(ALICE).status == "revoked"
    assert store.active(ALICE) is None
    assert store.standing(ALICE) == "revoked"
    again = store.pin(ALICE, petname=None, origin="manual", capabilities=FILES)
    assert (again.status, again.capabilities, again.origin) == ("active", FILES, "manual")
    assert store.active(ALICE) == again


def test_expiry(store: TrustStore, clock: Clock) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL, expires_at=clock.now + 10)
    clock.now += 9.9
    assert store.standing(ALICE) == "active"
    clock.now += 0.1
    assert store.standing(ALICE) == "expired"
    assert store.active(ALICE) is None
    assert store.set_expiry(ALICE, None).expires_at is None
    assert store.standing(ALICE) == "active"
    store.set_expiry(ALICE, clock.now)
    again = store.pin(ALICE, petname=None, origin="invite", capabilities=FILES)
    assert (again.capabilities, again.expires_at) == (FILES, None)


def test_blocking_is_stronger_than_everything(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    store.revoke(ALICE)
    store.block(ALICE)
    assert store.standing(ALICE) == "blocked"
    with fails(ErrorCode.BLOCKED):
        store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    with fails(ErrorCode.BLOCKED):
        store.redeem_invite(store.create_invite(SHELL), ALICE)
    unblocked = store.unblock(ALICE)
    assert unblocked is not None
    assert unblocked.status == "revoked"


def test_strangers_can_be_blocked(store: TrustStore) -> None:
    blocked = store.block(BOB)
    assert (blocked.status, blocked.capabilities, blocked.origin) == ("blocked", (), "block")
    assert store.block(BOB) == blocked
    assert store.peers() == [blocked]
    assert store.unblock(BOB) is None
    assert store.standing(BOB) == "unknown"


def test_capabilities_are_set(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    assert store.set_capabilities(ALICE, FILES).capabilities == FILES
    assert store.set_capabilities(ALICE, ()).capabilities == ()
    assert store.get(ALICE) == store.active(ALICE)


def test_what_is_done_to_nobody_says_so(store: TrustStore) -> None:
    acts: list[Callable[[], object]] = [
        lambda: store.rename(ALICE, "x"),
        lambda: store.set_capabilities(ALICE, ()),
        lambda: store.set_expiry(ALICE, None),
        lambda: store.revoke(ALICE),
        lambda: store.unblock(ALICE),
        lambda: store.remove(ALICE),
    ]
    for act in acts:
        with fails(ErrorCode.UNKNOWN_TARGET, ALICE):
            act()
    store.touch(ALICE)
    store.remember_route(ALICE, ["192.0.2.1:1"], [], None)
    assert store.peers() == []


def test_a_removed_peer_is_forgotten(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    store.remove(ALICE)
    assert store.standing(ALICE) == "unknown"
    store.pin(BOB, petname="x", origin="invite")


def test_routes_and_visits(store: TrustStore, clock: Clock) -> None:
    store.pin(ALICE, petname="x", origin="invite")
    clock.now += 5
    store.touch(ALICE)
    store.remember_route(ALICE, ["192.0.2.1:1", "[2001:db8::1]:2", "192.0.2.1:1"], ["https://relay.example"], "bob")
    peer = store.get(ALICE)
    assert peer is not None
    assert (peer.last_seen, peer.first_seen) == (clock.now, clock.now - 5)
    assert peer.addresses == ("192.0.2.1:1", "[2001:db8::1]:2")
    assert (peer.relays, peer.remote_user) == (("https://relay.example",), "bob")
    store.remember_route(ALICE, [], [], None)
    peer = store.get(ALICE)
    assert peer is not None
    assert (peer.addresses, peer.relays, peer.remote_user) == ((), (), "bob")


def test_hostile_routes_are_bounded(store: TrustStore) -> None:
    store.pin(ALICE, petname="x", origin="invite")
    hostile = ["a\nb", "\x1b[2J", "", "\ud800", "x" * 10_000, *(f"192.0.2.1:{port}" for port in range(1, 5000))]
    store.remember_route(ALICE, hostile, hostile, "\x1b[2J")
    peer = store.get(ALICE)
    assert peer is not None
    assert peer.addresses[0] == "192.0.2.1:1"
    assert len(peer.addresses) <= 32
    assert len(peer.relays) <= 32
    assert peer.remote_user is None


def test_a_grant_of_a_later_version_grants_nothing(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    with TrustStore(path) as store:
        store.pin(ALICE, petname="x", origin="invite", capabilities=SHELL)
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE peers SET capabilities = 'teleport:mars' || char(10) || 'shell'")
    with TrustStore(path) as store:
        peer = store.get(ALICE)
        assert peer is not None
        assert peer.capabilities == SHELL


# Names
