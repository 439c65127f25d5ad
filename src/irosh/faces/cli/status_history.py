"""``irosh status --history``: what was measured in the last day, from the state database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field as member
from typing import Any

from irosh.core.durations import format_duration
from irosh.core.errors import ErrorCode, IroshError
from irosh.core.metrics_history import KEPT_MINUTES, Period, Row
from irosh.core.state import StateDirectory
from irosh.core.trust import Peer, TrustStore
from irosh.faces.cli.amounts import gaps, latency, percent, rate, size, sparkline
from irosh.faces.cli.options import Settings
from irosh.faces.cli.table import fields, table
from irosh.node.control_client import attach

LONGEST = KEPT_MINUTES * 60.0
_STEPS = (1, 2, 5, 10, 15, 30, 60)  # minutes
_MOST_POINTS = 30


@dataclass
class _Peer:
    name: str
    total: Period = member(default_factory=Period)
    points: dict[int, Period] = member(default_factory=dict)


def show_history(settings: Settings, name: str, since: float) -> None:
    """Print it, of the peer ``name`` or of all (empty), as far back as ``since`` seconds."""
    state = StateDirectory(settings.state_path)
    now = time.time()
    minutes = min(KEPT_MINUTES, max(1, round(since / 60)))
    step = next(each for each in (*_STEPS, KEPT_MINUTES) if minutes <= each * _MOST_POINTS or each == _STEPS[-1])
    begin = (int(now // 60) - minutes + 1) // step * step
    peer_id, names, rows = _read(state, name, begin)
    peers: dict[str, _Peer] = {}
    for row in rows:
        peer = peers.setdefault(row.peer_id, _Peer(names.get(row.peer_id, "")))
        peer.total.merge(row.period)
        peer.points.setdefault(row.minute // step * step, Period()).merge(row.period)
    starts = list(range(begin, int(now // 60) + 1, step))
    shown = [_to_dict(each, peer, starts, step, now) for each, peer in peers.items()]
    if not peers:
        text = f"Nothing was measured{f' of {name}' if name else ''} in this time."
    else:
        span = f"since {time.strftime('%H:%M', time.localtime(begin * 60))}, by {format_duration(step * 60)}"
        text = f"{span}\n\n{_one(shown[0], starts) if peer_id is not None else _all(shown, starts)}"
    settings.output.result({"since": begin * 60, "until": now, "step": step * 60, "peers": shown}, text)


def _read(state: StateDirectory, name: str, begin: int) -> tuple[str | None, dict[str, str], list[Row]]:
    """The id behind ``name``, petnames by id, and the rows."""
    if (client := attach(state.control_socket_path)) is not None:
        with client, suppress(IroshError):  # it is ending: it writes all by itself
            client.call("history", {})
    names: dict[str, str] = {}
    known: Peer | None = None
    rows: list[Row] = []
    if state.database_path.exists():  # it is not made for this
        with TrustStore(state.database_path) as trust:
            names = {peer.id: peer.petname for peer in trust.peers()}
            known = trust.find(name) if name else None
            if known is not None or not name:
                rows = trust.metrics_history.rows(begin, None if known is None else known.id)
    if name and known is None:
        raise IroshError(ErrorCode.UNKNOWN_TARGET, f"no peer is named {name[:80]!r}", "`irosh peer list` shows them")
    return None if known is None else known.id, names, rows


def _to_dict(peer_id: str, peer: _Peer, starts: Sequence[int], step: int, now: float) -> dict[str, Any]:
    points = [
        {"time": start * 60, **peer.points[start].to_dict(max(1.0, min(step * 60, now - start * 60)))}
        for start in starts
        if start in peer.points
    ]
    total = peer.total.to_dict(max(1.0, now - starts[0] * 60))
    return {"peer": peer.name or None, "id": peer_id, "total": total, "points": points}


def _all(peers: Sequence[dict[str, Any]], starts: Sequence[int]) -> str:
    rows = [
        (
            peer["peer"] or peer["id"][:10],
            *_cells(peer["total"]),
            _line(peer, starts, "rtt_ms"),
            _traffic(peer, starts),
        )
        for peer in peers
    ]
    return table(("PEER", *_HEADER, "RTT OVER TIME", "TRAFFIC OVER TIME"), rows)


def _one(peer: dict[str, Any], starts: Sequence[int]) -> str:
    rows = [(time.strftime("%H:%M", time.localtime(point["time"])), *_cells(point)) for point in peer["points"]]
    bars = fields([("rtt", _line(peer, starts, "rtt_ms")), ("traffic", _traffic(peer, starts))])
    return f"{table(('FROM', *_HEADER), rows)}\n\n{bars}"


_HEADER = ("RTT", "MIN", "MAX", "LOSS", "OUT/S", "IN/S", "OUT", "IN", "RELAYED", "GAPS")


def _cells(period: dict[str, Any]) -> tuple[str, ...]:
    return (
        latency(period["rtt_ms"], period["jitter_ms"]),
        latency(period["rtt_min_ms"], None),
        latency(period["rtt_max_ms"], None),
        percent(period["loss"]),
        rate(period["send_rate"]),
        rate(period["receive_rate"]),
        size(period["bytes_sent"]),
        size(period["bytes_received"]),
        percent(period["relayed"]),
        gaps(period["reconnects"], period["down_seconds"]),
    )


def _line(peer: dict[str, Any], starts: Sequence[int], key: str) -> str:
    values = {point["time"] // 60: point[key] for point in peer["points"]}
    return sparkline([values.get(start) for start in starts])


def _traffic(peer: dict[str, Any], starts: Sequence[int]) -> str:
    values = {point["time"] // 60: point["send_rate"] + point["receive_rate"] for point in peer["points"]}
    return sparkline([values.get(start) for start in starts])
