"""The history: merges, forgets in time, and never grows beyond its bounds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irosh.core import database, metrics_history
from irosh.core.database import Database
from irosh.core.metrics_history import KEPT_MINUTES, MetricsHistory, Period, Row
from irosh.core.trust import TrustStore

ALICE, BOB = "a1" * 32, "b0" * 32
NOW = 30_000_000


@pytest.fixture
def history(tmp_path: Path) -> Iterator[MetricsHistory]:
    opened = Database(tmp_path / "irosh.db")
    yield MetricsHistory(opened)
    opened.close()


def measured(rtts: list[int], sent: int = 0) -> Period:
    period = Period(samples=len(rtts), bytes_sent=sent)
    for rtt in rtts:
        period.note_rtt(rtt, rtt // 10)
    return period


def test_rows_come_back(history: MetricsHistory) -> None:
    rows = [
        Row(NOW - 1, BOB, measured([5, 7], 10)),
        Row(NOW, ALICE, Period(samples=1, relayed=1, bytes_sent=2, down=4)),
    ]
    history.add(rows, NOW)
    assert history.rows(NOW - 1) == rows
    assert history.rows(NOW) == rows[1:]
    assert history.rows(NOW - 5, BOB) == rows[:1]
    assert history.rows(NOW - 5, "c0" * 32) == []


def _period(rtts: list[int], numbers: list[int]) -> Period:
    fields = ("relayed", "bytes_sent", "bytes_received", "bytes_lost", "path_changes", "reconnects", "up", "down")
    period = measured(rtts)
    for name, number in zip(fields, numbers, strict=True):
        setattr(period, name, number)
    return period


_PERIODS = st.builds(
    _period,
    st.lists(st.integers(0, 10**7), max_size=5),
    st.lists(st.integers(0, 10**12), min_size=8, max_size=8),
)


_minutes = count(NOW)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_PERIODS, min_size=1, max_size=6))
def test_the_database_merges_as_periods_do(history: MetricsHistory, parts: list[Period]) -> None:
    minute = next(_minutes)
    whole = Period()
    for part in parts:
        history.add([Row(minute, ALICE, part)], minute)
        whole.merge(part)
    [row] = history.rows(minute)
    assert row.period == whole
    assert whole.rtt_min <= whole.rtt_max


def test_a_day_is_kept(history: MetricsHistory) -> None:
    minutes = range(NOW - KEPT_MINUTES - 30, NOW)
    history.add([Row(minute, ALICE, measured([1])) for minute in minutes], NOW - 100)
    history.add([Row(NOW, ALICE, measured([1]))], NOW)
    assert [row.minute for row in history.rows(0)] == list(range(NOW - KEPT_MINUTES + 1, NOW + 1))


def test_many_peers_push_out_the_oldest_minutes(history: MetricsHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_history, "MAX_ROWS", 100)
    for minute in range(NOW - 9, NOW + 1):
        history.add([Row(minute, f"{peer:064x}", measured([1])) for peer in range(30)], minute)
    rows = history.rows(0)
    assert len(rows) <= 100
    assert {row.minute for row in rows} == {NOW - 2, NOW - 1, NOW}


def test_a_day_of_one_peer_is_small(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    Database(path).close()
    before = path.stat().st_size
    opened = Database(path)
    rows = [
        Row(minute, ALICE, Period(30, 0, 30, 700_000, 20_000, 35_000, 20_000, 10**8, 10**7, 10**4, 0, 0, 60_000, 0))
        for minute in range(NOW - KEPT_MINUTES + 1, NOW + 1)
    ]
    MetricsHistory(opened).add(rows, NOW)
    opened.close()
    assert (path.stat().st_size - before) / KEPT_MINUTES < 110


def test_a_database_of_before_gets_the_table(tmp_path: Path) -> None:
    path = tmp_path / "irosh.db"
    old = sqlite3.connect(path)
    for statement in database._MIGRATIONS[0]:
        old.execute(statement)
    old.execute("PRAGMA user_version = 1")
    old.close()
    opened = Database(path)
    MetricsHistory(opened).add([Row(NOW, ALICE, Period(samples=1))], NOW)
    assert len(MetricsHistory(opened).rows(0)) == 1
    opened.close()
    with TrustStore(path) as trust:
        assert trust.peers() == []


def test_a_period_for_programs() -> None:
    period = measured([10_000, 20_000], 4000)
    period.bytes_lost = 400
    period.bytes_received = 100
    found = period.to_dict(20.0)
    assert (found["rtt_ms"], found["rtt_min_ms"], found["rtt_max_ms"], found["jitter_ms"]) == (15.0, 10.0, 20.0, 1.5)
    assert (found["loss"], found["send_rate"], found["receive_rate"]) == (0.1, 200, 5)
    nothing = Period().to_dict(60.0)
    assert (nothing["rtt_ms"], nothing["jitter_ms"], nothing["loss"], nothing["relayed"]) == (None, None, 0.0, 0.0)
