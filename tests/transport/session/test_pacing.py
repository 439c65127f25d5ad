"""How much of a stream is on its way: enough for the link, and little more."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irosh.transport.session.pacing import HORIZON, LEAST, Pacing
from irosh.transport.session.replay import ReplayBudget, ReplayLog

GATHER = 0.05  # seconds between two acknowledgements


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


_CHUNK = bytes(16 * 1024)


def after(seconds: float, rate: float, round_trip: float) -> tuple[int, float]:
    """A stream that always has something to send, over a link of so many bytes a second; what is allowed to be on its
    way then, and the share of the link that was used in the last second.
    """
    clock = Clock()
    pacing = Pacing(clock)
    log = ReplayLog(ReplayBudget(1 << 30, 1 << 30))
    log.pacing = pacing
    arrived = used = 0.0
    news: list[tuple[float, int]] = []  # acknowledgements on their way back
    end = clock.now + seconds
    while clock.now < end:
        while log.has_room:
            log.append(_CHUNK)
        before = arrived
        arrived = min(log.end, arrived + rate * GATHER)
        if clock.now >= end - 1:
            used += arrived - before
        news.append((clock.now + round_trip, int(arrived)))
        clock.now += GATHER
        while news and news[0][0] <= clock.now:
            log.acknowledge(news.pop(0)[1])
    return pacing.most, used / rate


@settings(max_examples=40)
@given(rate=st.floats(20e3, 8e6), round_trip=st.floats(0.0, 0.15))
def test_the_link_is_used_and_little_waits(rate: float, round_trip: float) -> None:
    most, used = after(4.0, rate, round_trip)
    assert used > 0.75
    assert LEAST <= most <= max(LEAST, 1.5 * rate * HORIZON)


def test_time_without_anything_to_send_does_not_count() -> None:
    clock = Clock()
    log = ReplayLog(ReplayBudget(1 << 30, 1 << 30))
    log.pacing = Pacing(clock)
    clock.now += 3600
    log.append(bytes(LEAST))
    assert not log.has_room
    clock.now += GATHER
    log.acknowledge(LEAST)
    assert log.pacing.most == pytest.approx(LEAST / GATHER * HORIZON, abs=1)
