"""The collector: totals that only grow, few series whatever comes, and faults that stay its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from irosh.core.database import Database
from irosh.core.metrics_history import MetricsHistory
from irosh.node.metrics import collector as collecting
from irosh.node.metrics.collector import OTHERS, Collector, PeerReading
from irosh.node.metrics.meter import Meter, Sample, Totals
from irosh.node.metrics.prometheus import OTHERS_NAME, Snapshot
from irosh.node.metrics.streams import StreamBook
from irosh.transport.interfaces import Traffic


@pytest.fixture
def history(tmp_path: Path) -> Iterator[MetricsHistory]:
    opened = Database(tmp_path / "irosh.db")
    yield MetricsHistory(opened)
    opened.close()


class FakeSession:
    is_closed = False


class FakeConnection:
    """As much of a connection as is measured: each sample has sent 100 bytes more."""

    def __init__(self, peer: int) -> None:
        self.peer_id = f"{peer:064x}"
        self.meter = Meter(0.0)
        self.streams = StreamBook()
        self.session = FakeSession()
        self.samples = 0

    def measure(self) -> Sample:
        self.samples += 1
        return self.meter.take(self.samples * 2.0, [], Traffic(bytes_sent=100 * self.samples), 0, 0.0)


@contextlib.contextmanager
def measured(collector: Collector, *connections: FakeConnection) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for connection in connections:
            stack.enter_context(collector.measuring(connection))  # type: ignore[arg-type]
        yield


def totals(collector: Collector) -> dict[str, int]:
    return {reading.peer_id: reading.totals.traffic.bytes_sent for reading in collector.peers()}


def test_totals_outlive_sessions(history: MetricsHistory) -> None:
    async def body() -> None:
        collector = Collector(history)
        first, second, other = FakeConnection(1), FakeConnection(1), FakeConnection(2)
        with measured(collector, first, other):
            with measured(collector, second):
                assert totals(collector) == {first.peer_id: 200, other.peer_id: 100}
                [reading, _] = collector.peers()
                assert len(reading.meters) == 2
            assert totals(collector) == {first.peer_id: 300, other.peer_id: 100}
        assert totals(collector) == {first.peer_id: 400, other.peer_id: 200}
        assert [reading.meters for reading in collector.peers()] == [[], []]
        collector.close()

    asyncio.run(body())


def test_many_peers_share_totals(history: MetricsHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "MAX_PEERS", 10)

    async def body() -> None:
        collector = Collector(history)
        with measured(collector, FakeConnection(0)):
            pass
        with measured(collector, *(FakeConnection(peer) for peer in range(1, 31))):
            assert len(collector.peers()) <= 12
            assert sum(totals(collector).values()) == 200 + 30 * 100
        assert sum(totals(collector).values()) == 200 + 30 * 200
        with measured(collector, *(FakeConnection(peer) for peer in range(100, 130))):
            assert len(collector.peers()) <= 12
        assert sum(totals(collector).values()) == 200 + 60 * 200, "nothing is lost"
        assert OTHERS in totals(collector)
        snapshot = Snapshot(0.0, True, collector.peers(), {}, collector.services(), 0, 0)
        families = {family.name: family for family in text_string_to_metric_families(snapshot.text().decode())}
        sent = [each for each in families["irosh_bytes"].samples if each.labels["direction"] == "sent"]
        assert len({each.labels["peer"] for each in sent}) == len(sent) <= 12
        assert OTHERS_NAME in {each.labels["peer"] for each in sent}
        collector.close()

    asyncio.run(body())


def test_sampling_goes_on_whatever_one_session_does(history: MetricsHistory, caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(FakeConnection):
        def measure(self) -> Sample:
            raise RuntimeError("a fault")

    async def body() -> None:
        collector = Collector(history)
        good = FakeConnection(2)
        with measured(collector, Faulty(1), good):
            good.meter._last = -10.0
            running = asyncio.create_task(collector.run())
            async with asyncio.timeout(30):
                while good.samples < 2:
                    await asyncio.sleep(0.01)
            assert not running.done()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        collector.close()

    asyncio.run(body())
    assert "cannot be measured" in caplog.text


def test_at_rest_it_does_nothing(history: MetricsHistory) -> None:
    async def body() -> None:
        collector = Collector(history)
        running = asyncio.create_task(collector.run())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not collector._busy.is_set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        collector.close()
        assert history.rows(0) == []

    asyncio.run(body())


def test_names_cannot_break_the_text(history: MetricsHistory) -> None:
    names = {f"{1:064x}": 'a"b\\c\nd é'}
    collector = Collector(history)
    reading = PeerReading(f"{1:064x}", Totals(), [], 0)
    snapshot = Snapshot(0.0, False, [reading], names, collector.services(), 0, 0)
    families = {family.name: family for family in text_string_to_metric_families(snapshot.text().decode())}
    assert {each.labels["peer"] for each in families["irosh_bytes"].samples} == set(names.values())
