"""Readings from counters, and their frames: whatever the system or the peer says, nothing but readings comes out."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.wire import decode_body, encode_request
from irosh.services.telemetry.messages import (
    Counters,
    HostReading,
    TelemetryRequest,
    decode_reading,
    encode_reading,
    reading_between,
)
from irosh.services.telemetry.sampler import read_counters
from tests.support.fuzzing import fuzz_runs

number = st.integers(-(2**70), 2**70)
seconds = st.floats(0, 1e12)
counters = st.builds(
    Counters,
    time=seconds,
    busy=seconds,
    total=seconds,
    cores=st.integers(0, 10_000),
    load=st.floats(0, 1e6),
    **dict.fromkeys(
        (
            *("memory_used", "memory_total", "disk_used", "disk_total", "disk_read", "disk_written"),
            *("net_received", "net_sent", "uptime"),
        ),
        number,
    ),
)


@fuzz_runs(300)
@given(counters, counters)
def test_any_two_looks_make_a_reading_that_survives_its_frame(before: Counters, after: Counters) -> None:
    reading = reading_between(before, after)
    body = encode_reading(reading)
    assert decode_reading(body) == reading
    assert len(body) <= 128


value = st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.booleans()


@fuzz_runs(300)
@given(st.binary(max_size=300) | st.lists(value, max_size=20).map(msgspec.msgpack.encode))
def test_what_is_no_reading_is_refused(body: bytes) -> None:
    try:
        reading = decode_reading(body)
    except IroshError as error:
        assert error.code is ErrorCode.PROTOCOL
    else:
        assert 0 <= reading.cpu <= 1
        assert reading.cores >= 1


def test_rates_are_by_the_second() -> None:
    before = Counters(10.0, 100.0, 400.0, 4, 0.5, 6, 8, 1, 2, 1000, 0, 5000, 100, 60)
    after = Counters(12.0, 102.0, 408.0, 4, 0.5, 6, 8, 1, 2, 3000, 10, 4000, 100, 62)
    reading = reading_between(before, after)
    assert reading == HostReading(0.25, 4, 0.5, 6, 8, 1, 2, 1000, 5, 0, 0, 62)


def test_this_machine_can_be_looked_at() -> None:
    first, second = read_counters(), read_counters()
    assert second.total >= first.total > 0
    assert 0 < first.memory_used < first.memory_total
    assert 0 < first.disk_used <= first.disk_total
    decode_reading(encode_reading(reading_between(first, second)))


@pytest.mark.parametrize("interval", [0.0, 0.99, 60.1, -1.0, float("inf"), float("nan")])
def test_an_interval_has_limits(interval: float) -> None:
    request = encode_request(TelemetryRequest(interval))
    with pytest.raises(IroshError, match="TelemetryRequest"):
        decode_body(request, TelemetryRequest)
