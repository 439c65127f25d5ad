"""``irosh tunnel open``: sockets of a peer appear on this machine."""

from __future__ import annotations

import contextlib
from typing import Any

import click

from irosh.core.durations import parse_duration
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.open_events import show_open_event
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import control_client
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.target import read_target
from irosh.faces.cli.target_completion import complete_peer


@click.group()
def tunnel() -> None:
    """Bring a TCP, UDP or Unix socket of a peer to this machine."""


@tunnel.command("open", cls=MeetingCommand)
@click.argument("target", shell_complete=complete_peer)
@click.option(
    "--source", "sources", multiple=True, metavar="URL", help="tcp://HOST:PORT, udp://… or unix:///PATH there."
)
@click.option("--listen", "listens", multiple=True, metavar="ADDR", help="[HOST:]PORT or unix:///PATH here.")
@click.option("--map", "maps", multiple=True, metavar="SOURCE=LISTEN", help="Both at once; repeatable.")
@click.option("--udp-idle", metavar="TIME", help="End a UDP association after this long without a packet (60s).")
@click.option("--name", metavar="NAME", help="Petname to remember the peer by.")
@network_flags(hosting=False)
@common_options
def open_tunnel(
    settings: Settings,
    target: str,
    sources: tuple[str, ...],
    listens: tuple[str, ...],
    maps: tuple[str, ...],
    udp_idle: str | None,
    name: str | None,
    network: NetworkFlags,
) -> None:
    """Listen here, and carry each connection to SOURCE as the peer reaches it, until interrupted.

    The peer's owner decides what may be reached: irosh peer allow NAME 'forward:tcp://127.0.0.0/8:*'.
    """
    request: dict[str, Any] = {
        **network.request(),
        "target": read_target(target, network.modes),
        "name": name,
        "maps": _pairs(sources, listens, maps),
        "udp_idle": parse_duration(udp_idle) if udp_idle else None,
    }
    from irosh.faces.cli.limits import raise_file_limit

    raise_file_limit()
    with ended_as_interrupted(), control_client(settings, settings.output) as client:
        client.request("tunnel.open", request)
        blocks = Blocks(settings.output, network.files(), stdin=True, stdout=True)
        with contextlib.suppress(KeyboardInterrupt):
            for message in client.messages(lambda: blocks.wait(client)):
                if not blocks.handle(message):
                    show_open_event(settings.output, message, source=_source, refused=_refused)


def _pairs(sources: tuple[str, ...], listens: tuple[str, ...], maps: tuple[str, ...]) -> list[dict[str, str]]:
    if len(sources) != len(listens):
        raise click.UsageError("each --source needs one --listen, in the same order")
    pairs = list(zip(sources, listens, strict=True))
    for text in maps:
        source, equals, listen = text.rpartition("=")
        if not equals:
            raise click.UsageError(f"--map takes SOURCE=LISTEN, not {text!r}")
        pairs.append((source, listen))
    if not pairs:
        raise click.UsageError("what to open? Give --source and --listen, or --map")
    return [{"source": source, "listen": listen} for source, listen in pairs]


def _source(fields: dict[str, Any]) -> str:
    return f"{fields['source']} there"


def _refused(fields: dict[str, Any]) -> str:
    return f"{fields.get('client', '')} → {fields['source']}"
