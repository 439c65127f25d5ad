"""``irosh vpn``: networks that a peer can reach, for every program on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import click

from irosh.core.errors import IroshError
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.open_events import link_text
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.output import Output, style
from irosh.faces.cli.running import control_client
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.target import read_target
from irosh.faces.cli.target_completion import complete_peer


@click.command(cls=MeetingCommand)
@click.argument("target", shell_complete=complete_peer)
@click.option(
    "--route", "routes", multiple=True, metavar="NET", help="Reach this network through the peer; repeatable."
)
@click.option("--all", "everything", is_flag=True, help="Reach everything through the peer.")
@click.option(
    "--dns",
    "servers",
    multiple=True,
    metavar="ADDR",
    help="Ask this name server, or `peer` for the peer's own (the default with --all); repeatable.",
)
@click.option("--no-dns", is_flag=True, help="Leave name servers as they are.")
@click.option("--name", metavar="NAME", help="Petname to remember the peer by.")
@network_flags(hosting=False)
@common_options
def vpn(
    settings: Settings,
    target: str,
    routes: tuple[str, ...],
    everything: bool,
    servers: tuple[str, ...],
    no_dns: bool,
    name: str | None,
    network: NetworkFlags,
) -> None:
    """Send IP packets to networks, or everywhere, through a peer, until interrupted. Linux, as root on both sides.

    The peer's owner decides what may be reached: irosh peer allow NAME vpn:10.0.0.0/8.
    """
    if not (routes or everything):
        raise click.UsageError("what shall go through the peer? Give --route NET, or --all")
    if servers and no_dns:
        raise click.UsageError("--dns and --no-dns exclude each other")
    asked_servers = servers or (("peer",) if everything and not no_dns else ())
    request: dict[str, Any] = {
        **network.request(),
        "target": read_target(target, network.modes),
        "name": name,
        "routes": routes,
        "everything": everything,
        "dns": asked_servers or None,
    }
    with (
        ended_as_interrupted(),
        contextlib.suppress(KeyboardInterrupt),
        _prepared(settings),
        control_client(settings, settings.output) as client,
    ):
        client.request("vpn.open", request)
        blocks = Blocks(settings.output, network.files(), stdin=True, stdout=True)
        for message in client.messages(lambda: blocks.wait(client)):
            if not blocks.handle(message):
                _show(settings.output, message)


@contextlib.contextmanager
def _prepared(settings: Settings) -> Iterator[None]:
    """This process can carry a tunnel. What it needs on disk is made before, as files made later are nobody's."""
    from irosh.core.identity import load_or_create_identity
    from irosh.core.state import StateDirectory
    from irosh.core.trust import TrustStore
    from irosh.services.vpn import underlay

    state = StateDirectory(settings.state_path)
    if not state.control_socket_path.exists():
        # A node that holds the directory says so itself, later.
        with contextlib.suppress(IroshError), state.ensure().lock(), TrustStore(state.database_path):
            load_or_create_identity(state.identity_path)
    underlay.prepare()
    try:
        yield
    finally:
        underlay.release()


def _show(output: Output, message: dict[str, Any]) -> None:
    fields = {key: value for key, value in message.items() if key != "event"}
    text = link_text(message)
    if message.get("event") == "ready":
        lines = [f"  {style(each, 'green')}  →  the peer" for each in _ways(fields)]
        lines.append(f"irosh: ready, as {' '.join(fields['addresses'])} on {fields['device']}; Ctrl-C ends it")
        text = "\n".join(lines)
    output.event(str(message.get("event")), fields, text)


def _ways(fields: dict[str, Any]) -> list[str]:
    ways = [*fields["routes"], *(["everything"] if fields["everything"] else [])]
    return [*ways, *(f"names, by {each}" for each in fields["dns"])]
