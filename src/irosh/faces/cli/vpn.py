"""``irosh vpn``: networks that a peer can reach, for every program on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from irosh.node.control_client import ControlClient
    from irosh.services.vpn.machine import ClientMachine
    from irosh.services.vpn.routing import Wanted


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
    from irosh.services.vpn.routing import Wanted, parse_routes

    request: dict[str, Any] = {
        **network.request(),
        "target": read_target(target, network.modes),
        "name": name,
        "routes": routes,
        "everything": everything,
    }
    wanted = Wanted(parse_routes(list(routes)), everything)
    with ended_as_interrupted(), contextlib.suppress(KeyboardInterrupt):
        blocks = Blocks(settings.output, network.files(), stdin=True, stdout=True)
        _carry(settings, request, wanted, list(asked_servers), blocks)


def _carry(settings: Settings, request: dict[str, Any], wanted: Wanted, servers: list[str], blocks: Blocks) -> None:
    from irosh.services.vpn import underlay
    from irosh.services.vpn.guard import Guard
    from irosh.services.vpn.machine import ClientMachine
    from irosh.services.vpn.system import check_able

    check_able("this machine")
    resolved = underlay.uses_resolved()

    def prepare() -> None:
        _make_state(settings)
        underlay.keep_out_own(resolved=resolved)

    with (
        contextlib.closing(Guard()) as guard,
        control_client(settings, settings.output, prepare=prepare) as client,
        underlay.keeping_out(client.node_pid),
        contextlib.closing(ClientMachine(guard, wanted, servers, resolved=resolved)) as machine,
    ):
        client.request("vpn.open", request)
        for message in client.messages(lambda: blocks.wait(client)):
            match message.get("event"):
                case "welcome":
                    _show(settings.output, {"event": "ready", **_set_up(machine, client, message)})
                case "mtu":
                    asyncio.run(machine.set_mtu(int(message["mtu"])))
                case _ if not blocks.handle(message):
                    _show(settings.output, message)


def _set_up(machine: ClientMachine, client: ControlClient, message: dict[str, Any]) -> dict[str, Any]:
    """Set up this machine and hand the interface to the node; what has been set up."""
    import msgspec

    from irosh.services.vpn.messages import VpnWelcome

    welcome = msgspec.convert(message["addresses"], VpnWelcome)
    descriptor, summary = asyncio.run(machine.set_up(welcome, int(message["mtu"])))
    try:
        client.hand_over({"interface": summary["device"]}, descriptor)
    finally:
        os.close(descriptor)
    return summary


def _make_state(settings: Settings) -> None:
    """What the node needs on disk is made before, as files made later are nobody's."""
    from irosh.core.identity import load_or_create_identity
    from irosh.core.state import StateDirectory
    from irosh.core.trust import TrustStore

    state = StateDirectory(settings.state_path)
    # A node that holds the directory says so itself, later.
    with contextlib.suppress(IroshError), state.ensure().lock(), TrustStore(state.database_path):
        load_or_create_identity(state.identity_path)


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
