"""``irosh telemetry``: how busy a peer is."""

from __future__ import annotations

import contextlib
import shutil
import sys
from typing import Any

import click

from irosh.core.durations import parse_duration
from irosh.faces.cli.amounts import percent, rate, size
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import control_client
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.table import fields
from irosh.faces.cli.target import read_target
from irosh.faces.cli.target_completion import complete_peer
from irosh.faces.cli.telemetry_line import HostTelemetry, telemetry_line, telemetry_of

# As irosh.services.telemetry.messages has them, which is not imported here: it would bring the node with it.
LEAST_INTERVAL, MOST_INTERVAL = 1.0, 60.0

_TO_START_OF_LINE, _TO_END_OF_LINE = "\r", "\x1b[K"


@click.command(cls=MeetingCommand)
@click.argument("target", shell_complete=complete_peer)
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@click.option("--interval", metavar="TIME", default="2s", help="How often, with --watch: 1s to 60s (2s).")
@network_flags(hosting=False)
@common_options
def telemetry(settings: Settings, target: str, watch: bool, interval: str, network: NetworkFlags) -> None:
    """Show processor, memory, disk and network of a peer, and how the link to it does.

    The peer's owner decides whether it tells: irosh peer allow NAME telemetry.
    """
    seconds = parse_duration(interval)
    if not LEAST_INTERVAL <= seconds <= MOST_INTERVAL:
        raise click.UsageError("--interval takes 1s to 60s")
    request = {**network.request(), "target": read_target(target, network.modes), "interval": seconds}
    with ended_as_interrupted(), control_client(settings, settings.output) as client:
        client.request("telemetry.watch", request)
        blocks = Blocks(settings.output, network.files(), stdin=True, stdout=True)
        with contextlib.suppress(KeyboardInterrupt):
            for message in client.messages(lambda: blocks.wait(client)):
                if blocks.handle(message) or message.get("event") != "telemetry":
                    continue
                if not watch:
                    found = {key: message[key] for key in ("peer", "host", "link")}
                    settings.output.result(found, _table(telemetry_of(message)))
                    return
                _show(settings, message)
        if watch and not settings.json and sys.stdout.isatty():
            print(flush=True)  # noqa: T201


def _show(settings: Settings, message: dict[str, Any]) -> None:
    if settings.json:
        settings.output.event("telemetry", {key: message[key] for key in ("peer", "host", "link")})
    elif sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        line = telemetry_line(telemetry_of(message), width)
        print(f"{_TO_START_OF_LINE}{line}{_TO_END_OF_LINE}", end="", flush=True)  # noqa: T201
    else:
        print(telemetry_line(telemetry_of(message), 1000), flush=True)  # noqa: T201


def _table(found: HostTelemetry) -> str:
    host, link = found.host, found.link
    rtt = "-" if link.rtt_ms is None else f"{link.rtt_ms:.0f} ms"
    return fields(
        [
            ("peer", found.peer),
            ("processor", f"{percent(host.cpu)} of {host.cores}, load {host.load:.2f}"),
            ("memory", _used(host.memory_used, host.memory_total)),
            (
                "disk",
                f"{_used(host.disk_used, host.disk_total)}, read {rate(host.disk_read)}, "
                f"written {rate(host.disk_written)}",
            ),
            ("network", f"received {rate(host.net_received)}, sent {rate(host.net_sent)}"),
            ("link", "down" if link.down else f"{link.path}, round trip {rtt}, loss {percent(link.loss)}"),
        ]
    )


def _used(used: int, total: int) -> str:
    return f"{size(used)} of {size(total)} ({percent(used / total) if total else '-'})"
