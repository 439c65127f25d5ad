"""What host and client of telemetry say to each other, and how rates come from counters. Pure.

A frame is one :class:`HostReading` as a MessagePack array: about a hundred bytes.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.target_request import TargetRequest

LEAST_INTERVAL, DEFAULT_INTERVAL, MOST_INTERVAL = 1.0, 2.0, 60.0
"""Seconds between two frames. The least keeps it all below one kilobyte a second."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Cores = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Load = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]
Interval = Annotated[float, msgspec.Meta(ge=LEAST_INTERVAL, le=MOST_INTERVAL)]


class TelemetryRequest(msgspec.Struct, omit_defaults=True):
    """Asks for a frame every ``interval`` seconds."""

    interval: Interval = DEFAULT_INTERVAL

    @property
    def summary(self) -> str:
        """What the stream is for, as ``irosh status`` shows it."""
        return f"every {self.interval:g} s"


class WatchRequest(TargetRequest, kw_only=True):
    """Operation ``telemetry.watch``."""

    interval: Interval = DEFAULT_INTERVAL


class HostReading(msgspec.Struct, array_like=True, frozen=True):
    """How busy the host was since the frame before. Rates in bytes a second."""

    cpu: Fraction
    cores: Cores
    load: Load
    memory_used: Count
    memory_total: Count
    disk_used: Count
    disk_total: Count
    disk_read: Count
    disk_written: Count
    net_received: Count
    net_sent: Count
    uptime: Count


class LinkReading(msgspec.Struct, frozen=True):
    """How the link to the host does, as this side sees it. ``path``: direct, relayed or none; ``loss``: a fraction."""

    down: bool
    path: str
    rtt_ms: float | None
    jitter_ms: float | None
    loss: float


class Counters(msgspec.Struct, frozen=True):
    """What the system counts, at ``time`` (seconds, monotonic). ``busy`` and ``total``: seconds of all processors.

    Disk: the file system at ``/``, and what all disks moved. Network: all interfaces but loopback.
    """

    time: float
    busy: float
    total: float
    cores: int
    load: float
    memory_used: int
    memory_total: int
    disk_used: int
    disk_total: int
    disk_read: int
    disk_written: int
    net_received: int
    net_sent: int
    uptime: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(HostReading)


def encode_reading(reading: HostReading) -> bytes:
    """The body of a frame."""
    return _encoder.encode(reading)


def decode_reading(body: bytes) -> HostReading:
    """The reading in the body of a frame. ``IroshError`` (protocol-error) for anything else."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise IroshError(ErrorCode.PROTOCOL, f"malformed telemetry: {error}"[:300]) from None


def reading_between(before: Counters, after: Counters) -> HostReading:
    """What went on between two looks. Counters that went back, as after a device has gone, count as nothing."""
    elapsed = after.time - before.time

    def rate(earlier: int, later: int) -> int:
        return _count((later - earlier) / elapsed) if elapsed > 0 else 0

    total = after.total - before.total
    busy = (after.busy - before.busy) / total if total > 0 else 0.0
    return HostReading(
        cpu=round(min(1.0, max(0.0, busy)), 4),
        cores=max(1, after.cores),
        load=round(max(0.0, after.load), 2),
        memory_used=_count(after.memory_used),
        memory_total=_count(after.memory_total),
        disk_used=_count(after.disk_used),
        disk_total=_count(after.disk_total),
        disk_read=rate(before.disk_read, after.disk_read),
        disk_written=rate(before.disk_written, after.disk_written),
        net_received=rate(before.net_received, after.net_received),
        net_sent=rate(before.net_sent, after.net_sent),
        uptime=_count(after.uptime),
    )


def _count(value: float) -> int:
    return round(min(2**62, max(0, value)))  # clipped first: what comes of a tiny interval may be infinite
