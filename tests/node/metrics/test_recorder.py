"""Keeping the history, on good disks and bad ones."""

from __future__ import annotations

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


def written(path: Path) -> list[Row]:
    database = Database(path)
    try:
        return MetricsHistory(database).rows(0)
    finally:
        database.close()


def test_a_minute_is_written_once_it_is_over(tmp_path: Path, minute: list[int]) -> None:
    path = tmp_path / "irosh.db"
    recorder = Recorder(path)
    recorder.note(ALICE, sample(10, 0.03))
    recorder.note(ALICE, sample(20, None))
    recorder.write()
    assert not path.exists()
    minute[0] += 1
    recorder.note(ALICE, sample(5))
    recorder.write()
    [row] = written(path)
    assert (row.minute, row.peer_id) == (minute[0] - 1, ALICE)
    assert (row.period.samples, row.period.bytes_sent, row.period.up) == (2, 30, 4000)
    assert (row.period.rtt_samples, row.period.rtt_sum, row.period.jitter_sum) == (1, 30_000, 1000)
    assert recorder.has_pending
    recorder.write(present=True)
    assert [each.period.bytes_sent for each in written(path)] == [30, 5]


def test_a_minute_can_be_written_in_parts(tmp_path: Path, minute: list[int]) -> None:
    recorder = Recorder(tmp_path / "irosh.db")
    for _ in range(3):
        recorder.note(ALICE, sample(10))
        recorder.write(present=True)
    recorder.write(present=True)
    [row] = written(tmp_path / "irosh.db")
    assert (row.period.samples, row.period.bytes_sent) == (3, 30)


def test_what_cannot_be_written_is_counted_and_stops_nothing(
    tmp_path: Path, minute: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "irosh.db"
    path.mkdir()
    recorder = Recorder(path)
    for _ in range(3):
        recorder.note(ALICE, sample(10))
        minute[0] += 1
        recorder.write()
    assert (recorder.lost_rows, recorder.has_pending) == (3, False)
    assert len(caplog.records) == 1, "not one for each minute"
    path.rmdir()
    recorder.note(ALICE, sample(7))
    recorder.write(present=True)
    assert [row.period.bytes_sent for row in written(path)] == [7], "it goes on once it can"


def test_a_clock_that_is_set_back_loses_nothing(tmp_path: Path, minute: list[int]) -> None:
    recorder = Recorder(tmp_path / "irosh.db")
    recorder.note(ALICE, sample(10))
    minute[0] -= 90
    recorder.note(ALICE, sample(5))
    recorder.write()
    recorder.write(present=True)
    assert [(row.minute, row.period.bytes_sent) for row in written(tmp_path / "irosh.db")] == [
        (minute[0], 5),
        (minute[0] + 90, 10),
    ]
