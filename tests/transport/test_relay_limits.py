"""The relay's token bucket and its bounded outboxes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.transport.relay.limits import TokenBucket
from irosh.transport.relay.outbox import CONTROL_BYTES, Budget, Outbox
from tests.support.clock import Clock


def test_a_full_bucket_lets_its_burst_pass_at_once() -> None:
    bucket = TokenBucket(rate=10, burst=100, clock=Clock(0))
    assert bucket.full
    assert bucket.take(100) == 0
    assert not bucket.full


def test_an_overdrawn_bucket_tells_how_long_to_wait() -> None:
    clock = Clock(0)
    bucket = TokenBucket(rate=10, burst=100, clock=clock)
    assert bucket.take(120) == 2
    clock.now = 1.5
    assert bucket.take(0) == pytest.approx(0.5)
    clock.now = 2
    assert bucket.take(0) == 0
    clock.now = 11.9
    assert not bucket.full
    clock.now = 12
    assert bucket.full


def test_trying_does_not_overdraw() -> None:
    clock = Clock(0)
    bucket = TokenBucket(rate=1, burst=2, clock=clock)
    assert [bucket.try_take(1) for _ in range(4)] == [True, True, False, False]
    clock.now = 1
    assert [bucket.try_take(1) for _ in range(2)] == [True, False]


def test_a_clock_that_goes_backwards_gives_nothing() -> None:
    clock = Clock(0)
    clock.now = 100
    bucket = TokenBucket(rate=1, burst=1, clock=clock)
    bucket.take(1)
    clock.now = 50
    assert not bucket.try_take(1)


@given(
    st.floats(1, 1e6),
    st.floats(1, 1e6),
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1e6)), max_size=50),
)
def test_whoever_waits_as_told_keeps_to_the_rate(rate: float, burst: float, takes: list[tuple[float, float]]) -> None:
    clock = Clock(0)
    bucket = TokenBucket(rate, burst, clock)
    taken = largest = 0.0
    for pause, amount in takes:
        clock.now += pause
        taken += amount
        largest = max(largest, amount)
        clock.now += bucket.take(amount)
        assert taken <= burst + rate * clock.now + 1e-6 * (1 + taken)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (1, 0), (-1, 1), (math.inf, 1), (math.nan, 1), (1, math.nan)])
def test_a_bucket_without_a_rate_or_a_burst_makes_no_sense(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        TokenBucket(rate, burst, Clock(0))


def outbox(*, frames: int = 100, size: int = 1000, age: float = 10, budget: Budget | None = None) -> Outbox:
    return Outbox(frames, size, age, budget or Budget(10_000))


def test_messages_come_out_in_order_and_control_comes_first() -> None:
    box = outbox()
    assert not box
    assert box.offer(b"one", 0)
    assert box.offer(b"two", 0)
    assert box.put_control(b"ping")
    assert box.put_control(b"gone")
    assert box
    assert box.take(1000, 0) == ([b"ping", b"gone", b"one", b"two"], 0)
    assert not box


def test_take_stops_once_it_has_enough() -> None:
    box = outbox()
    for message in (b"aaaa", b"bbbb", b"cccc"):
        box.offer(message, 0)
    assert box.take(5, 0) == ([b"aaaa", b"bbbb"], 0)
    assert box.queued_bytes == 4
    assert box.take(5, 0) == ([b"cccc"], 0)


def test_what_does_not_fit_is_dropped() -> None:
    box = outbox(frames=3, size=10)
    assert box.offer(b"12345", 0)
    assert not box.offer(b"123456", 0)  # bytes
    assert box.offer(b"12", 0)
    assert box.offer(b"1", 0)
    assert not box.offer(b"1", 0)  # frames
    assert box.queued_bytes == 8


def test_the_budget_is_shared_and_given_back() -> None:
    budget = Budget(10)
    one, other = outbox(budget=budget), outbox(budget=budget)
    assert one.offer(b"12345678", 0)
    assert not other.offer(b"123", 0)
    one.take(1, 0)
    assert budget.used == 0
    assert other.offer(b"123", 0)
    other.drop_datagrams()
    assert budget.used == 0
    assert not other


def test_datagrams_that_waited_too_long_are_dropped() -> None:
    box = outbox(age=1)
    box.offer(b"old", 0)
    box.offer(b"young", 5)
    box.put_control(b"control")
    assert box.take(1000, 5.5) == ([b"control", b"young"], 1)
    assert not box


def test_a_client_that_lets_control_pile_up_is_noticed() -> None:
    box = outbox()
    chunk = bytes(1024)
    for _ in range(CONTROL_BYTES // 1024):
        assert box.put_control(chunk)
    assert not box.put_control(b"x")
    box.take(0, 0)
    assert box.put_control(b"x")


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("offer"), st.integers(0, 400)),
            st.tuples(st.just("control"), st.integers(0, 400)),
            st.tuples(st.just("take"), st.integers(0, 400)),
            st.tuples(st.just("drop"), st.just(0)),
        ),
        max_size=60,
    )
)
def test_accounts_stay_right_and_limits_hold(steps: list[tuple[str, int]]) -> None:
    budget = Budget(2000)
    box = Outbox(5, 1000, math.inf, budget)
    datagrams: list[bytes] = []
    control: list[bytes] = []
    for step, number in steps:
        match step:
            case "offer":
                message = b"d" * number
                fits = len(datagrams) < 5 and sum(map(len, datagrams)) + number <= 1000
                assert box.offer(message, 0) == fits
                datagrams += [message] if fits else []
            case "control":
                assert box.put_control(b"c" * number)
                control.append(b"c" * number)
            case "take":
                messages, stale = box.take(number, 0)
                count = len(messages) - len(control)
                assert (messages, stale) == (control + datagrams[:count], 0)
                assert count == len(datagrams) or sum(map(len, messages)) >= number
                control, datagrams = [], datagrams[count:]
            case _:
                box.drop_datagrams()
                datagrams = []
        assert box.queued_bytes == budget.used == sum(map(len, datagrams))
        assert bool(box) == bool(datagrams or control)
