"""The line about a host: it fits any width, and what matters most stays longest."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from irosh.faces.cli.telemetry_line import HostTelemetry, telemetry_line
from irosh.services.telemetry.messages import HostReading, LinkReading

LINK = LinkReading(down=False, path="direct", rtt_ms=20.0, jitter_ms=3.0, loss=0.004)
HOST = HostReading(0.12, 8, 0.42, 3 * 10**9, 16 * 10**9, 40, 100, 0, 3000, 1_200_000, 30_000, 7200)
BUSY = HostTelemetry("box", HOST, LINK)


def test_all_of_it() -> None:
    assert telemetry_line(BUSY, 200) == (
        "box  cpu 12%  load 0.4/8  mem 19%  of 16 GB  disk 40%  r - w 3.0 kB/s"
        "  net in 1.2 MB/s out 30 kB/s  rtt 20±3 ms loss 0.4% direct"
    )


def test_less_of_it() -> None:
    assert (
        telemetry_line(BUSY, 80) == "box  cpu 12%  mem 19%  net in 1.2 MB/s out 30 kB/s  rtt 20±3 ms loss 0.4% direct"
    )
    assert telemetry_line(BUSY, 45) == "box  cpu 12%  rtt 20±3 ms loss 0.4% direct"
    assert telemetry_line(BUSY, 2) == "bo"
    assert telemetry_line(BUSY, 0) == ""


def test_a_link_that_is_down_says_so() -> None:
    down = replace(BUSY, link=msgspec.structs.replace(LINK, down=True, rtt_ms=None))
    assert "link down" in telemetry_line(down, 40)


@given(
    st.integers(0, 300),
    st.text(max_size=80),
    st.floats(0, 1),
    st.integers(0, 2**63 - 1),
    st.none() | st.floats(0, 1e6),
)
def test_it_fits_and_cannot_disturb_the_terminal(
    width: int, peer: str, fraction: float, count: int, rtt: float | None
) -> None:
    host = msgspec.structs.replace(HOST, cpu=fraction, memory_used=count, net_sent=count)
    telemetry = HostTelemetry(peer, host, msgspec.structs.replace(LINK, rtt_ms=rtt, path=peer))
    line = telemetry_line(telemetry, width)
    assert len(line) <= width
    assert line.isprintable()
