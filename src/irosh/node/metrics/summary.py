"""What has been measured of a session, as ``irosh status --json`` shows it."""

from __future__ import annotations

from typing import Any

from irosh.node.peer_connection import PeerConnection

MAX_STREAMS = 100
"""Of one session that are shown, the newest."""


def session_summary(connection: PeerConnection) -> dict[str, Any]:
    """Of one session, by its last sample."""
    meter, totals = connection.meter, connection.meter.totals
    sent, received = meter.rates
    return {
        "down": connection.session.is_down,
        "jitter_ms": round(meter.jitter * 1000, 3),
        "loss": round(meter.loss, 6),
        "send_rate": round(sent),
        "receive_rate": round(received),
        "bytes_sent": totals.traffic.bytes_sent,
        "bytes_received": totals.traffic.bytes_received,
        "bytes_lost": totals.traffic.bytes_lost,
        "bytes_kept": connection.streams.kept,
        "path_changes": totals.path_changes,
        "reconnects": totals.reconnects,
        "up_seconds": round(totals.up, 3),
        "down_seconds": round(totals.down, 3),
    }


def stream_summaries(connection: PeerConnection, limit: int) -> list[dict[str, Any]]:
    """The newest streams of a session, at most ``limit``; the oldest of them first."""
    uses = list(connection.streams.uses())
    return [use.to_dict() for use in uses[max(0, len(uses) - min(limit, MAX_STREAMS)) :]]
