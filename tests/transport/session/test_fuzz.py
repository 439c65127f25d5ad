"""Random courses of two sessions over connections that are cut at any moment: no byte wrong, nothing left, no hang.

``IROSH_FUZZ_RUNS=10000`` plays that many, other ones each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.memory_connection import Conditions
from tests.support.session_scenarios import Outage, Scenario, Side, StreamPlan, play

RUNS = int(os.environ.get("IROSH_FUZZ_RUNS", "0"))

moments = st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.3, 1.0, 2.5, 4.0])
pauses = st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.1, 1.0])
chunks = st.sampled_from([0, 1, 1, 3, 17, 18, 19, 100, 1000, 4096, 5000, 20_000, 70_000, 300_000])


@st.composite
def sides(draw: st.DrawFn, *, opener: bool) -> Side:
    sizes = draw(st.lists(chunks, max_size=6))
    if opener and not sum(sizes):
        sizes.append(1)
    spliced = draw(st.integers(0, 3)) == 0
    return Side(
        chunks=tuple(sizes),
        write_pause=draw(pauses),
        reads=draw(st.sampled_from([65536, 65536, 1000, 300_000])),
        read_pause=draw(pauses),
        stop_after=draw(st.none() | st.none() | st.integers(0, 2000)) if not spliced else None,
        impatient=draw(st.none() | st.none() | st.sampled_from([0.02, 0.5])),
        hasty=draw(st.sampled_from([None, None, None, None, 0.001, 0.02])) if not spliced else None,
        break_off=draw(st.none() | st.none() | st.none() | moments),
        spliced=spliced,
    )


noticed = st.none() | moments
outages = st.builds(
    Outage,
    moments,
    st.sampled_from([True, True, True, False]),
    st.tuples(noticed, noticed),
    moments,
    moments,
    st.integers(0, 1),
    frames=st.none() | st.integers(0, 40),
)
conditions = st.builds(
    Conditions,
    delay=st.sampled_from([(0.0, 0.0), (0.01, 0.01), (0.001, 0.05), (0.0, 0.3)]),
    window=st.sampled_from([1000, 4000, 20_000, 1_000_000]),
    frame=st.sampled_from([500, 1500, 60_000]),
    drains=st.booleans(),
)
streams = st.builds(StreamPlan, st.integers(0, 1), moments, st.tuples(sides(opener=True), sides(opener=False)))
scenarios = st.builds(
    Scenario,
    st.lists(streams, min_size=1, max_size=5).map(tuple),
    st.lists(outages, max_size=6).map(tuple),
    conditions,
    replay_buffer=st.sampled_from([1000, 65536, 300_000, 16 * 1024 * 1024]),
    replay_total=st.sampled_from([1000, 100_000, 128 * 1024 * 1024]),
    seed=st.integers(0, 2**32 - 1),
)


@given(scenarios)
@settings(
    max_examples=RUNS or 200,
    derandomize=not RUNS,
    deadline=None,
    print_blob=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_whatever_happens_no_byte_is_wrong_and_nothing_is_left(scenario: Scenario) -> None:
    play(scenario)
