"""What a meter makes of its samples."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.node.metrics.meter import WINDOW, Meter, Totals
from irosh.transport.interfaces import Path, Traffic

NEAR, FAR = "192.0.2.1:1", "192.0.2.2:2"


def a_path(rtt: float, remote: str = NEAR, *, relayed: bool = False, selected: bool = True) -> Path:
    return Path(remote, relayed, selected, rtt, 0, 0, 0, 1200)


def moved(sent: int = 0, received: int = 0, *, lost: int = 0, packets: int = 0) -> Traffic:
    return Traffic(sent, received, packets, packets, lost, 0)


def test_throughput_is_that_of_the_last_seconds() -> None:
    meter = Meter(100.0)
    for second in range(1, 61):
        meter.take(100.0 + second, [], moved(second * 1000, second * 50), 0, 0.0)
    assert list(meter.rates) == pytest.approx([1000, 50])
    for second in range(61, 61 + int(WINDOW) + 1):
        meter.take(100.0 + second, [], moved(60_000, 3000), 0, 0.0)
    assert list(meter.rates) == [0.0, 0.0]


def test_throughput_is_known_from_the_first_sample_on() -> None:
    meter = Meter(0.0)
    assert list(meter.rates) == [0.0, 0.0]
    meter.take(2.0, [], moved(500), 0, 0.0)
    assert list(meter.rates) == pytest.approx([250, 0])


def test_loss_is_a_fraction_of_what_was_sent_lately() -> None:
    meter = Meter(0.0)
    for number in range(1, 100):
        meter.take(number * 2.0, [], moved(number * 1000, lost=number * 50), 0, 0.0)
    assert meter.loss == pytest.approx(0.05, rel=0.01)
    for number in range(100, 300):
        meter.take(number * 2.0, [], moved(number * 1000, lost=99 * 50), 0, 0.0)
    assert meter.loss < 0.001


def test_jitter_is_the_mean_deviation() -> None:
    meter = Meter(0.0)
    for number in range(200):
        rtt = 0.020 if number % 2 else 0.030
        meter.take(number * 2.0, [a_path(rtt)], moved(packets=number), 0, 0.0)
    assert meter.jitter == pytest.approx(0.010, rel=0.01)
    assert meter.rtt in (0.020, 0.030)


def test_at_rest_there_is_no_jitter_to_see() -> None:
    meter = Meter(0.0)
    meter.take(0.0, [a_path(0.02)], moved(packets=1), 0, 0.0)
    meter.take(2.0, [a_path(0.03)], moved(packets=2), 0, 0.0)
    before = meter.jitter
    assert before > 0
    meter.take(4.0, [a_path(0.03)], moved(packets=2), 0, 0.0)
    assert meter.jitter == before, "no packet came, so the time is the old one"


def test_another_path_is_a_change_and_no_jitter() -> None:
    meter = Meter(0.0)
    takes: list[list[Path]] = [
        [a_path(0.1, "https://relay.example", relayed=True)],
        [a_path(0.1, "https://relay.example", relayed=True), a_path(0.01, selected=False)],
        [a_path(0.01)],
        [],  # down
        [a_path(0.01)],
        [a_path(0.05, FAR)],
    ]
    seen = []
    for number, paths in enumerate(takes):
        sample = meter.take(number * 2.0, paths, moved(packets=number + 1), 0, 0.0)
        seen.append((meter.path, sample.relayed, meter.totals.path_changes))
    assert seen == [
        ("relayed", True, 0),
        ("relayed", True, 0),
        ("direct", False, 1),
        ("none", False, 1),
        ("direct", False, 1),
        ("direct", False, 2),
    ]
    assert meter.jitter == 0.0


def test_of_several_paths_in_use_the_quickest_counts() -> None:
    meter = Meter(0.0)
    for number in range(4):  # the order of the two does not matter
        both = [a_path(0.06, FAR), a_path(0.02 + number / 1000)]
        meter.take(number * 2.0, both[:: 1 if number % 2 else -1], moved(packets=number + 1), 0, 0.0)
    assert (meter.rtt, meter.path, meter.totals.path_changes) == (0.023, "direct", 0)
    assert 0 < meter.jitter < 0.001
    meter.take(10.0, [a_path(0.06, FAR)], moved(packets=10), 0, 0.0)
    assert (meter.rtt, meter.totals.path_changes) == (0.06, 1)


def test_time_is_either_up_or_down() -> None:
    meter = Meter(1000.0)
    meter.take(1010.0, [], moved(), 0, 0.0)
    meter.take(1020.0, [], moved(), 0, 4.0)
    last = meter.take(1030.0, [], moved(), 1, 6.0)
    assert (meter.totals.up, meter.totals.down, meter.totals.reconnects) == (24.0, 6.0, 1)
    assert (last.new.up, last.new.down, last.new.reconnects) == (8.0, 2.0, 1)


def test_a_gap_that_ends_the_session_is_not_forgotten() -> None:
    meter = Meter(0.0)
    meter.take(10.0, [], moved(), 0, 5.0)
    last = meter.take(12.0, [], moved(), 0, 0.0)
    assert meter.totals.down == 5.0
    assert last.new.down == 0.0


_GROWTH = st.integers(0, 10**9)
_STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 100.0),  # seconds since the sample before
        st.lists(st.builds(a_path, st.floats(0, 5), st.sampled_from([NEAR, FAR]), relayed=st.booleans()), max_size=2),
        *[_GROWTH] * 6,
        st.integers(0, 2),
        st.floats(0.0, 50.0),
    ),
    max_size=30,
)


@given(_STEPS)
def test_whatever_comes_totals_only_grow_and_samples_add_up(steps: list[tuple[object, ...]]) -> None:
    meter = Meter(0.0)
    now, traffic, reconnects, down, total = 0.0, Traffic(), 0, 0.0, Totals()
    for pause, paths, sent, received, packets_sent, packets_received, lost, packets_lost, again, gap in steps:
        now += pause  # type: ignore[operator]
        traffic += Traffic(sent, received, packets_sent, packets_received, lost, packets_lost)  # type: ignore[arg-type]
        reconnects += again  # type: ignore[operator]
        down += min(gap, pause)  # type: ignore[call-overload]
        before = meter.totals
        sample = meter.take(now, paths, traffic, reconnects, down)  # type: ignore[arg-type]
        total += sample.new
        grown = meter.totals - before
        assert min(grown.path_changes, grown.reconnects, grown.up, grown.down) >= 0
        assert 0.0 <= meter.loss <= 1.0
        assert meter.jitter >= 0.0
        assert min(meter.rates) >= 0.0
    assert total.traffic == traffic == meter.totals.traffic
    assert total.up + total.down <= now + 1e-6
