"""``irosh gateway``: machines that have only OpenSSH, shown to peers by name."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from irosh.core.gateway_list import parse_list
from irosh.core.hops import GATEWAY_SEPARATOR
from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.input_file import read_input
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import control_client, running_node
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.table import table
from irosh.faces.cli.target import read_target
from irosh.faces.cli.target_completion import complete_peer

MAX_FILE = 1024 * 1024  # bytes of a list


@click.group()
def gateway() -> None:
    """Show machines that have only OpenSSH to peers by name, or see which a gateway shows."""


@gateway.command()
@click.option("--list", "file", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The machines.")
@common_options
def serve(settings: Settings, file: Path) -> None:
    """Have the running host show the machines in FILE to its peers, until interrupted.

    Each line of FILE is NAME ssh://[USER@]HOST[:PORT]. A peer sees those it may go on to:
    irosh peer allow NAME 'gateway:ssh://10.0.0.0/8:22'.
    """
    entries = read_input(file, MAX_FILE, parse_list)
    output = settings.output
    with suppress(KeyboardInterrupt), ended_as_interrupted(), running_node(settings) as client:
        client.request("gateway.serve", {"entries": entries})
        for message in client.messages():
            if message.get("event") == "serving":
                text = f"irosh: {len(message['names'])} machines are shown; Ctrl-C ends it"
                output.event("serving", {"names": message["names"]}, text)


@gateway.command("list", cls=MeetingCommand)
@click.argument("target", shell_complete=complete_peer)
@network_flags(hosting=False)
@common_options
def list_names(settings: Settings, target: str, network: NetworkFlags) -> None:
    """Show the machines to which the gateway TARGET leads: irosh connect TARGET/NAME."""
    request = {**network.request(), "target": read_target(target, network.modes)}
    with control_client(settings, settings.output) as client:
        client.request("gateway.list", request)
        blocks = Blocks(settings.output, network.files(), stdin=True, stdout=False)
        answer = {}
        for message in client.messages(lambda: blocks.wait(client)):
            if not blocks.handle(message):
                answer = message
    names: dict[str, str] = answer["names"]
    rows = [(f"{answer['gateway']}{GATEWAY_SEPARATOR}{name}", url) for name, url in sorted(names.items())]
    nobody = f"{answer['gateway']} shows no machines to this one."
    fields = {"gateway": answer["gateway"], "names": names}
    settings.output.result(fields, table(("TARGET", "ADDRESS"), rows) if rows else nobody)
