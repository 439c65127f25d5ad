"""``irosh proxy``: the SSH stream to a peer on standard input and output, for other SSH programs."""

from __future__ import annotations

from contextlib import suppress

import click

from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import control_client
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.stdio import carry_stdio
from irosh.faces.cli.target import read_target


@click.command(cls=MeetingCommand)
@click.argument("target")
@network_flags(hosting=False)
@common_options
def proxy(settings: Settings, target: str, network: NetworkFlags) -> None:
    """Carry SSH between standard input and output and a peer.

    For use by other programs: ssh -o ProxyCommand='irosh proxy %h' PEER. `irosh ssh-config` prints what makes
    plain `ssh PEER` work.
    """
    # ssh(1) ends its ProxyCommand by SIGHUP, and shows what is written to stderr: nothing.
    with suppress(KeyboardInterrupt), ended_as_interrupted(), control_client(settings, settings.output) as client:
        blocks = Blocks(settings.output, network.files(), stdin=False, stdout=False)
        request = {**network.request(), "target": read_target(target, network.modes)}
        client.switch("proxy", request, blocks.handle, lambda: blocks.wait(client))
        carry_stdio(client.socket)
