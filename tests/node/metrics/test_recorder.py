"""Keeping the history, on good disks and bad ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from irosh.core.database import Database
from irosh.core.metrics_history import MetricsHistory, Row
from irosh.node.metrics import recorder as recording
from irosh.node.metrics.meter import Sample, Totals
from irosh.node.metrics.recorder import Recorder
from irosh.transport.interfaces import Traffic

ALICE = "a1" * 32


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The present minute, to be moved on."""
    now = [30_000_000]
    monkeypatch.setattr(recording, "_minute", lambda: now[0])
    return now


def sample(sent: int, rtt: float | None = 0.02) -> Sample:
    return Sample(Totals(Traffic(bytes_sent=sent), 0, 0, 2.0, 0.0), rtt, 0.001, relayed=False)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "irosh.db")
    yield opened
    opened.close()


def written(database: Database) -> list[Row]:
    return MetricsHistory(database).rows(0)


def test_a_minute_is_written_once_it_is_over(database: Database, minute: list[int]) -> None:
    recorder = Recorder(MetricsHistory(database))
    recorder.note(ALICE, sample(10, 0.03))
    recorder.note(ALICE, sample(20, None))
    recorder.write()
    assert written(database) == []
    minute[0] += 1
    recorder.note(ALICE, sample(5))
    recorder.write()
    [row] = written(database)
    assert (row.minute, row.peer_id) == (minute[0] - 1, ALICE)
    assert (row.period.samples, row.period.bytes_sent, row.period.up) == (2, 30, 4000)
    assert (row.period.rtt_samples, row.period.rtt_sum, row.period.jitter_sum) == (1, 30_000, 1000)
    assert recorder.has_pending
    recorder.write(present=True)
    assert [each.period.bytes_sent for each in written(database)] == [30, 5]


def test_a_minute_can_be_written_in_parts(database: Database, minute: list[int]) -> None:
    recorder = Recorder(MetricsHistory(database))
    for _ in range(3):
        recorder.note(ALICE, sample(10))
        recorder.write(present=True)
    recorder.write(present=True)
    [row] = written(database)
    assert (row.period.samples, row.period.bytes_sent) == (3, 30)


def test_what_cannot_be_written_is_counted_and_stops_nothing(
    database: Database, minute: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(MetricsHistory(database))
    [[pages]] = database.query("PRAGMA page_count")
    database.query(f"PRAGMA max_page_count = {pages!r}")  # as a full disk
    peers = [f"{number:064x}" for number in range(300)]
    for _ in range(3):
        for peer in peers:
            recorder.note(peer, sample(10))
        minute[0] += 1
        recorder.write()
    assert (recorder.lost_rows, recorder.has_pending) == (900, False)
    assert len(caplog.records) == 1, "not one for each minute"
    assert written(database) == []
    database.query("PRAGMA max_page_count = 1000000")
    recorder.note(ALICE, sample(7))
    recorder.write(present=True)
    assert [row.period.bytes_sent for row in written(database)] == [7], "it goes on once it can"


def test_a_clock_that_is_set_back_loses_nothing(database: Database, minute: list[int]) -> None:
    recorder = Recorder(MetricsHistory(database))
    recorder.note(ALICE, sample(10))
    minute[0] -= 90
    recorder.note(ALICE, sample(5))
    recorder.write()
    recorder.write(present=True)
    assert [(row.minute, row.period.bytes_sent) for row in written(database)] == [
        (minute[0], 5),
        (minute[0] + 90, 10),
    ]
