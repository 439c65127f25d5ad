"""What ``irosh status`` prints for people."""

from __future__ import annotations

from typing import Any

from irosh.faces.cli.amounts import gaps, latency, percent, rate, size
from irosh.faces.cli.table import age, fields, table

_CONNECTIONS = (
    *("PEER", "DIRECTION", "PATH", "RTT", "LOSS", "OUT/S", "IN/S"),
    *("OUT", "IN", "STREAMS", "GAPS", "SINCE", "REMOTE"),
)
_STREAMS = ("PEER", "SERVICE", "FOR", "OPENED BY", "AGE", "OUT", "IN", "UNACKNOWLEDGED")


def status_text(found: dict[str, Any], *, streams: bool) -> str:
    """The node, its connections and, with ``streams``, what goes over them."""
    return _running(found, streams=streams) if found["running"] else _not_running(found)


def _not_running(found: dict[str, Any]) -> str:
    pid = found["pid"]
    return fields(
        [
            ("node", "not running" if pid is None else f"starting, stopping or suspended (process {pid})"),
            ("id", found["id"] or "none yet: the first `irosh host` or `irosh connect` makes one"),
            ("state", found["state"]),
        ]
    )


def _running(found: dict[str, Any], *, streams: bool) -> str:
    kind = "host" if found["hosting"] else "client"
    summary = fields(
        [
            ("node", f"{kind}, process {found['pid']}, up {age(found['started_at'])}, irosh {found['version']}"),
            ("id", found["id"]),
            ("state", found["state"]),
            ("addresses", " ".join(found["addresses"])),
            ("relays", " ".join(found["relays"])),
            ("metrics", found["metrics_url"] or ""),
            ("audit", _lost(found["audit_entries_lost"], "entries")),
            ("history", _lost(found["history_rows_lost"], "rows")),
        ]
    )
    connections = found["connections"]
    if not connections:
        return f"{summary}\n\nNo connections."
    parts = [summary, table(_CONNECTIONS, [_row(connection) for connection in connections])]
    if streams:
        rows = [row for connection in connections for row in _stream_rows(connection)]
        parts.append(table(_STREAMS, rows) if rows else "No streams.")
    return "\n\n".join(parts)


def _lost(count: int, what: str) -> str:
    return f"{count} {what} could not be written: is the disk full?" if count else ""


def _row(connection: dict[str, Any]) -> tuple[str, ...]:
    return (
        _name(connection),
        connection["direction"],
        "down" if connection["down"] else connection["path"],
        latency(connection["rtt_ms"], connection["jitter_ms"]),
        percent(connection["loss"]),
        rate(connection["send_rate"]),
        rate(connection["receive_rate"]),
        size(connection["bytes_sent"]),
        size(connection["bytes_received"]),
        str(connection["open_streams"]),
        gaps(connection["reconnects"], connection["down_seconds"]),
        age(connection["since"]),
        _carriers(connection["carriers"]) or "-",
    )


def _carriers(carriers: list[dict[str, Any]]) -> str:
    """Where each goes, and where it comes from if it is bound to one of our networks."""
    shown = []
    for carrier in carriers:
        remote = next((path["remote"] for path in carrier["paths"] if path["selected"]), "-")
        shown.append(f"{carrier['local']}→{remote}" if carrier["local"] else remote)
    return " ".join(shown)


def _stream_rows(connection: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (
            _name(connection),
            stream["service"],
            stream["detail"] or "-",
            stream["opened_by"],
            age(stream["since"]),
            size(stream["bytes_sent"]),
            size(stream["bytes_received"]),
            size(stream["bytes_kept"]),
        )
        for stream in connection["stream_list"]
    ]
    more = connection["open_streams"] - len(rows)
    return [*rows, (_name(connection), f"and {more} more", *[""] * 6)] if more > 0 else rows


def _name(connection: dict[str, Any]) -> str:
    return str(connection["peer"] or connection["id"][:10])
