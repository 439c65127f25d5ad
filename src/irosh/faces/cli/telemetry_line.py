"""One line about how busy a host is and how its link does, for a status bar or a prompt. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from irosh.faces.cli.amounts import latency, percent, rate, size
from irosh.faces.cli.table import printable

_GAP = "  "


@dataclass(frozen=True, slots=True)
class Link:
    """How the link to the host does, as this side sees it. ``path``: direct, relayed or none; ``loss``: a fraction."""

    down: bool
    path: str
    rtt_ms: float | None
    jitter_ms: float | None
    loss: float


@dataclass(frozen=True, slots=True)
class HostTelemetry:
    """What a host last said, and its link. ``cpu``: a fraction of all ``cores``; sizes in bytes, rates in bytes/s."""

    peer: str
    cpu: float
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
    link: Link


def telemetry_of(event: Mapping[str, Any]) -> HostTelemetry:
    """What an event of the operation ``telemetry.watch`` says."""
    return HostTelemetry(peer=str(event["peer"]), **event["host"], link=Link(**event["link"]))


def telemetry_line(telemetry: HostTelemetry, width: int) -> str:
    """At most ``width`` columns. What matters least is left out first; what cannot be shown is cut off."""
    name = printable(telemetry.peer)
    # In the order shown, each with how much it matters: the lowest is the last to go.
    parts = [
        (0, name),
        (2, f"cpu {percent(telemetry.cpu)}"),
        (6, f"load {telemetry.load:.1f}/{telemetry.cores}"),
        (3, f"mem {_share(telemetry.memory_used, telemetry.memory_total)}"),
        (7, f"of {size(telemetry.memory_total)}"),
        (5, f"disk {_share(telemetry.disk_used, telemetry.disk_total)}"),
        (8, f"r {rate(telemetry.disk_read)} w {rate(telemetry.disk_written)}"),
        (4, f"net in {rate(telemetry.net_received)} out {rate(telemetry.net_sent)}"),
        (1, _link_text(telemetry.link)),
    ]
    while parts:
        line = _GAP.join(text for _, text in parts)
        if len(line) <= width:
            return line
        if len(parts) == 1:
            return line[: max(0, width)]
        parts.remove(max(parts))
    return ""


def _share(used: int, total: int) -> str:
    return percent(used / total) if total else "-"


def _link_text(link: Link) -> str:
    if link.down:
        return "link down"
    return f"rtt {latency(link.rtt_ms, link.jitter_ms)} loss {percent(link.loss)} {printable(link.path)}"
