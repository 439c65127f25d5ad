"""One line about how busy a host is and how its link does, for a status bar or a prompt. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from irosh.faces.cli.amounts import latency, percent, rate, size
from irosh.faces.cli.table import printable
from irosh.services.telemetry.messages import HostReading, LinkReading

_GAP = "  "


@dataclass(frozen=True, slots=True)
class HostTelemetry:
    """What a host, known here as ``peer``, last said, and how its link does."""

    peer: str
    host: HostReading
    link: LinkReading


def telemetry_of(event: Mapping[str, Any]) -> HostTelemetry:
    """What an event of the operation ``telemetry.watch`` says."""
    return HostTelemetry(str(event["peer"]), HostReading(**event["host"]), LinkReading(**event["link"]))


def telemetry_line(telemetry: HostTelemetry, width: int) -> str:
    """At most ``width`` columns. What matters least is left out first; what cannot be shown is cut off."""
    host = telemetry.host
    # In the order shown, each with how much it matters: the lowest is the last to go.
    parts = [
        (0, printable(telemetry.peer)),
        (2, f"cpu {percent(host.cpu)}"),
        (6, f"load {host.load:.1f}/{host.cores}"),
        (3, f"mem {_share(host.memory_used, host.memory_total)}"),
        (7, f"of {size(host.memory_total)}"),
        (5, f"disk {_share(host.disk_used, host.disk_total)}"),
        (8, f"r {rate(host.disk_read)} w {rate(host.disk_written)}"),
        (4, f"net in {rate(host.net_received)} out {rate(host.net_sent)}"),
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


def _link_text(link: LinkReading) -> str:
    if link.down:
        return "link down"
    return f"rtt {latency(link.rtt_ms, link.jitter_ms)} loss {percent(link.loss)} {printable(link.path)}"
