"""The audit: complete, readable, and bounded whatever a peer does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irosh.core import audit
from irosh.core.trust import AuditEntry, TrustStore
from tests.support.clock import Clock

ALICE = "a1" * 32
BOB = "b0" * 32


def test_entries_come_back_in_order(store: TrustStore, clock: Clock) -> None:
    store.audit("connection", ALICE, "accepted")
    clock.now += 1.5
    store.audit("stream.tunnel", ALICE, "used", "forward:tcp://127.0.0.1:22")
    store.audit("connection", None, "refused", "unknown peer")
    assert store.audit_log() == [
        AuditEntry(1, 1_000_000.0, "connection", ALICE, "accepted", ""),
        AuditEntry(2, 1_000_001.5, "stream.tunnel", ALICE, "used", "forward:tcp://127.0.0.1:22"),
        AuditEntry(3, 1_000_001.5, "connection", None, "refused", "unknown peer"),
    ]
    assert store.audit_log()[1].to_dict() == {
        "number": 2,
        "time": 1_000_001.5,
        "event": "stream.tunnel",
        "peer": ALICE,
        "outcome": "used",
        "detail": "forward:tcp://127.0.0.1:22",
    }


def test_a_part_of_it(store: TrustStore, clock: Clock) -> None:
    for number in range(10):
        clock.now += 1
        store.audit("e", ALICE if number % 2 else BOB, "used", str(number))
    assert [entry.detail for entry in store.audit_log(limit=3)] == ["7", "8", "9"]
    assert [entry.detail for entry in store.audit_log(limit=2, peer_id=ALICE)] == ["7", "9"]
    assert [entry.detail for entry in store.audit_log(since=clock.now - 1)] == ["8", "9"]
    assert [entry.detail for entry in store.audit_log(since=clock.now - 3, peer_id=BOB)] == ["6", "8"]
    assert store.audit_log(since=clock.now + 1) == []
    assert store.audit_log(limit=0) == []


def test_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    with TrustStore(path) as store:
        store.audit("connection", ALICE, "accepted")
    with TrustStore(path) as store:
        store.audit("connection", ALICE, "closed")
        assert [entry.outcome for entry in store.audit_log()] == ["accepted", "closed"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=1000))
def test_texts_of_peers_cannot_do_harm(store: TrustStore, text: str) -> None:
    store.audit(text, text, "refused", text)
    entry = store.audit_log(limit=1)[0]
    for written, limit in ((entry.event, 64), (entry.peer_id or "", 64), (entry.detail, 400)):
        assert written.isprintable()
        assert len(written) <= limit
    if text.isprintable() and "\\" not in text and len(text) <= 64:
        assert (entry.event, entry.peer_id, entry.detail) == (text, text, text)


def test_escapes_can_be_told_from_what_they_stand_for(store: TrustStore) -> None:
    store.audit("e", None, "used", "a\nb\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}\ud800")
    store.audit("e", None, "used", "a\\nb")
    store.audit("e", None, "used", "ü 漢 " + "x" * 10_000)
    first, second, third = (entry.detail for entry in store.audit_log())
    assert first == r"a\nb\x1b[2J\u202e\ud800"
    assert second == r"a\\nb"
    assert third.startswith("ü 漢 xxx")
    assert third.endswith("x…")


def test_old_entries_go(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_OTHER", 50)
    monkeypatch.setattr(audit, "PRUNE_EVERY", 10)
    for number in range(500):
        store.audit("e", ALICE, "used", str(number))
    kept = [int(entry.detail) for entry in store.audit_log(limit=1000)]
    assert kept == list(range(500 - len(kept), 500))
    assert 50 <= len(kept) <= 61


def test_a_flood_of_refusals_does_not_push_out_the_rest(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_REFUSED", 20)
    monkeypatch.setattr(audit, "MAX_OTHER", 50)
    monkeypatch.setattr(audit, "PRUNE_EVERY", 10)
    for number in range(40):
        store.audit("e", ALICE, "used", str(number))
    for _ in range(1000):
        store.audit("connection", BOB, "refused")
    log = store.audit_log(limit=10_000)
    assert [int(entry.detail) for entry in log if entry.peer_id == ALICE] == list(range(40))
    assert 20 <= sum(entry.peer_id == BOB for entry in log) <= 31


def test_short_lived_processes_prune_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_OTHER", 5)
    for number in range(20):
        with TrustStore(tmp_path / "irosh.db") as store:
            store.audit("e", ALICE, "used", str(number))
    with TrustStore(tmp_path / "irosh.db") as store:
        assert [entry.detail for entry in store.audit_log()] == ["15", "16", "17", "18", "19"]


def test_the_file_stops_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MAX_REFUSED", 500)
    monkeypatch.setattr(audit, "PRUNE_EVERY", 100)
    path = tmp_path / "irosh.db"
    sizes = []
    for _ in range(3):
        with TrustStore(path) as store:
            for _ in range(2000):
                store.audit("connection", BOB, "refused", "\x00" * 1000)
        sizes.append(path.stat().st_size)
    assert sizes[2] <= sizes[0] * 1.2
    assert sizes[2] < 1_000_000
