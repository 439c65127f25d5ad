"""Invites: what a secret is good for, for whom, how often and how long."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irosh.core.capability import parse_capabilities
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.trust import TrustStore
from tests.support import scripts
from tests.support.clock import Clock
from tests.support.failures import fails

ALICE = "a1" * 32
BOB = "b0" * 32
CAROL = "ca" * 32

SHELL = parse_capabilities(["shell"])
MUCH = parse_capabilities(["shell", "forward:tcp://127.0.0.0/8:*"])


def test_an_invite_gives_what_it_was_made_with_once(store: TrustStore) -> None:
    secret = store.create_invite(MUCH)
    assert len(secret) == 16
    assert store.redeem_invite(secret, ALICE) == MUCH
    with fails(ErrorCode.INVITE_USED):
        store.redeem_invite(secret, BOB)


def test_secrets_differ(store: TrustStore) -> None:
    assert len({store.create_invite(SHELL) for _ in range(50)}) == 50


def test_the_secret_is_not_stored(store: TrustStore, tmp_path: Path) -> None:
    secrets = [store.create_invite(SHELL) for _ in range(20)]
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    for secret in secrets:
        assert secret not in stored
        assert secret.hex().encode() not in stored
        assert secret[:8] not in stored


def test_several_uses(store: TrustStore) -> None:
    secret = store.create_invite(SHELL, uses=2)
    assert store.redeem_invite(secret, ALICE) == SHELL
    assert store.invites()[0].uses_left == 1
    assert store.redeem_invite(secret, BOB) == SHELL
    with fails(ErrorCode.INVITE_USED):
        store.redeem_invite(secret, CAROL)


def test_expiry(store: TrustStore, clock: Clock) -> None:
    secret = store.create_invite(SHELL, lifetime=60)
    clock.now += 59.9
    assert store.redeem_invite(secret, ALICE) == SHELL
    clock.now += 0.1
    with fails(ErrorCode.INVITE_EXPIRED):
        store.redeem_invite(secret, ALICE)
    with fails(ErrorCode.INVITE_EXPIRED):
        store.redeem_invite(secret, BOB)
    clock.now += 31 * 86_400
    store.create_invite(SHELL)
    with fails(ErrorCode.INVITE_INVALID):
        store.redeem_invite(secret, BOB)


def test_checking_uses_nothing_up(store: TrustStore, clock: Clock) -> None:
    secret = store.create_invite(SHELL)
    for _ in range(3):
        store.check_invite(secret, ALICE)
        store.check_invite(secret, BOB)
    with fails(ErrorCode.INVITE_INVALID):
        store.check_invite(b"x" * 16, ALICE)
    store.pin(ALICE, petname="alice", origin="invite", capabilities=store.redeem_invite(secret, ALICE))
    store.check_invite(secret, ALICE)
    with fails(ErrorCode.INVITE_USED):
        store.check_invite(secret, BOB)
    store.revoke(ALICE)
    with fails(ErrorCode.INVITE_USED):
        store.check_invite(secret, ALICE)
    store.block(ALICE)
    with fails(ErrorCode.BLOCKED):
        store.check_invite(secret, ALICE)
    clock.now += 10_000
    with fails(ErrorCode.INVITE_EXPIRED):
        store.check_invite(secret, BOB)


def test_foreign_secrets(store: TrustStore, tmp_path: Path) -> None:
    with TrustStore(tmp_path / "other.db") as other:
        foreign = other.create_invite(SHELL)
    mine = store.create_invite(SHELL)
    altered = bytes([mine[0] ^ 1]) + mine[1:]
    for secret in (foreign, altered, mine[:-1], mine + b"\0", b"", bytes(16), bytes(100_000)):
        with fails(ErrorCode.INVITE_INVALID):
            store.redeem_invite(secret, ALICE)
    assert store.redeem_invite(mine, ALICE) == SHELL


def test_a_lost_answer_can_be_had_again(store: TrustStore) -> None:
    secret = store.create_invite(SHELL)
    for _ in range(3):
        assert store.redeem_invite(secret, ALICE) == SHELL
    store.pin(ALICE, petname=None, origin="invite", capabilities=SHELL)
    assert store.redeem_invite(secret, ALICE) == SHELL
    with fails(ErrorCode.INVITE_USED):
        store.redeem_invite(secret, BOB)


@pytest.mark.parametrize("decision", ["revoke", "remove", "expire"])
def test_an_old_invite_does_not_undo_a_decision(store: TrustStore, clock: Clock, decision: str) -> None:
    secret = store.create_invite(SHELL, uses=5)
    store.pin(ALICE, petname=None, origin="invite", capabilities=store.redeem_invite(secret, ALICE))
    if decision == "revoke":
        store.revoke(ALICE)
    elif decision == "remove":
        store.remove(ALICE)
    else:
        store.set_expiry(ALICE, clock.now)
    with fails(ErrorCode.INVITE_USED):
        store.redeem_invite(secret, ALICE)
    # A new one does.
    renewed = store.redeem_invite(store.create_invite(MUCH), ALICE)
    assert store.pin(ALICE, petname=None, origin="invite", capabilities=renewed).capabilities == MUCH
    assert store.standing(ALICE) == "active"


def test_an_old_invite_does_not_restore_capabilities(store: TrustStore) -> None:
    secret = store.create_invite(MUCH)
    store.pin(ALICE, petname=None, origin="invite", capabilities=store.redeem_invite(secret, ALICE))
    store.set_capabilities(ALICE, SHELL)
    again = store.redeem_invite(secret, ALICE)
    assert store.pin(ALICE, petname=None, origin="invite", capabilities=again).capabilities == SHELL


def test_a_known_peer_gains_by_a_second_invite(store: TrustStore) -> None:
    store.pin(ALICE, petname=None, origin="manual", capabilities=SHELL)
    secret = store.create_invite(MUCH)
    granted = store.redeem_invite(secret, ALICE)
    assert granted == store.redeem_invite(secret, ALICE), "not settled before it is pinned"
    assert store.pin(ALICE, petname=None, origin="invite", capabilities=granted).capabilities == MUCH


def test_blocked_between_redeeming_and_pinning(store: TrustStore) -> None:
    secret = store.create_invite(SHELL)
    store.redeem_invite(secret, ALICE)
    store.block(ALICE)
    with fails(ErrorCode.BLOCKED):
        store.redeem_invite(secret, ALICE)
    store.unblock(ALICE)
    with fails(ErrorCode.INVITE_USED):
        store.redeem_invite(secret, ALICE)


def test_removed_between_redeeming_and_pinning(store: TrustStore) -> None:
    store.pin(ALICE, petname=None, origin="manual")
    secret = store.create_invite(SHELL)
    store.redeem_invite(secret, ALICE)
    store.remove(ALICE)
    with fails(ErrorCode.INVITE_USED):
        store.redeem_invite(secret, ALICE)


def test_the_whole_secret_counts_not_only_the_part_that_finds_it(store: TrustStore, tmp_path: Path) -> None:
    secret = store.create_invite(SHELL)
    with contextlib.closing(sqlite3.connect(tmp_path / "irosh.db")) as raw, raw:
        # As if another invite's hash began like this one's.
        raw.execute("UPDATE invites SET digest = ?", (bytes(32),))
    with fails(ErrorCode.INVITE_INVALID):
        store.redeem_invite(secret, ALICE)


def test_listing_and_cancelling(store: TrustStore, clock: Clock) -> None:
    first = store.create_invite(MUCH, uses=3, lifetime=100)
    clock.now += 1
    second = store.create_invite(SHELL)
    infos = store.invites()
    assert [(info.capabilities, info.uses, info.uses_left) for info in infos] == [(MUCH, 3, 3), (SHELL, 1, 1)]
    assert (infos[0].created_at, infos[0].expires_at) == (clock.now - 1, clock.now + 99)
    assert infos[0].to_dict()["capabilities"] == [str(capability) for capability in MUCH]
    store.redeem_invite(first, ALICE)
    store.cancel_invite(infos[0].id)
    for peer in (ALICE, BOB):
        with fails(ErrorCode.INVITE_INVALID):
            store.redeem_invite(first, peer)
    with fails(ErrorCode.UNKNOWN_TARGET):
        store.cancel_invite(infos[0].id)
    store.redeem_invite(second, BOB)
    assert store.invites() == [], "what cannot be used is not listed"


@pytest.mark.parametrize(("uses", "lifetime"), [(0, 60), (-1, 60), (10**20, 60), (1, 0), (1, -5), (1, float("nan"))])
def test_invites_that_make_no_sense(store: TrustStore, uses: int, lifetime: float) -> None:
    with fails(ErrorCode.USAGE):
        store.create_invite(SHELL, uses=uses, lifetime=lifetime)
    assert store.invites() == []


def test_an_impossible_identity_uses_nothing_up(store: TrustStore) -> None:
    secret = store.create_invite(SHELL)
    with fails(ErrorCode.USAGE):
        store.redeem_invite(secret, "alice")
    assert store.invites()[0].uses_left == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(uses=st.integers(1, 5), attempts=st.lists(st.integers(0, 7), max_size=20))
def test_never_more_identities_than_uses(store: TrustStore, uses: int, attempts: list[int]) -> None:
    secret = store.create_invite(SHELL, uses=uses)
    admitted: set[str] = set()
    for number in attempts:
        # Identities of this example only: the store lives through all of them.
        peer = secret.hex() + f"{number:032x}"
        try:
            assert store.redeem_invite(secret, peer) == SHELL
        except IroshError as error:
            assert error.code == ErrorCode.INVITE_USED
            assert peer not in admitted
            assert len(admitted) == uses
        else:
            admitted.add(peer)
    assert len(admitted) == min(uses, len(set(attempts)))


def test_a_race_of_processes_for_the_last_use_has_one_winner(tmp_path: Path) -> None:
    script = """
        with TrustStore(path) as store:
            wait_for_go()
            try:
                store.redeem_invite(bytes.fromhex(sys.argv[2]), sys.argv[3])
                print("won")
            except IroshError as error:
                print(error.code)
    """
    path = tmp_path / "irosh.db"
    with TrustStore(path) as store:
        secret = store.create_invite(SHELL)
    answers = scripts.race(script, path, [(secret.hex(), os.urandom(32).hex()) for _ in range(5)])
    assert sorted(answers) == ["invite-used"] * 4 + ["won"]
