"""``irosh proxy``: the SSH stream to a peer on standard input and output, for other SSH programs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from irosh.faces.cli.blocks import Blocks
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.running import control_client
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.stdio import carry_stdio
from irosh.faces.cli.target import read_target
from irosh.faces.cli.target_completion import complete_station


@click.command(cls=MeetingCommand)
@click.argument("target", shell_complete=complete_station)
@click.option("--listen", metavar="ADDR", help="Serve the peer's SSH at [HOST:]PORT or unix:///PATH here instead.")
@click.option(
    "--authorized-keys",
    "keys_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --listen: let in whoever has one of these keys, not this user's programs.",
)
@click.option("--on-behalf", is_flag=True, help="Carry the link of another node to the peer instead, as a hop does.")
@click.option("--allow-remote", is_flag=True, help="With --listen and --authorized-keys: not on loopback only.")
@network_flags(hosting=False)
@common_options
def proxy(
    settings: Settings,
    target: str,
    listen: str | None,
    keys_file: Path | None,
    allow_remote: bool,
    on_behalf: bool,
    network: NetworkFlags,
) -> None:
    """Carry SSH between standard input and output and a peer.

    For use by other programs: ssh -o ProxyCommand='irosh proxy %h' PEER. `irosh ssh-config` prints what makes
    plain `ssh PEER` work. For programs that only know a host and a port: --listen, until interrupted.
    """
    request: dict[str, Any] = {**network.request(), "target": read_target(target, network.modes)}
    if listen is not None and on_behalf:
        raise click.UsageError("--listen does not go with --on-behalf")
    if listen is not None:
        from irosh.faces.cli.proxy_port import serve_port

        serve_port(settings, {**request, "listen": listen}, network, keys_file, allow_remote=allow_remote)
        return
    if keys_file is not None or allow_remote:
        raise click.UsageError("--authorized-keys and --allow-remote are about --listen")
    request["on_behalf"] = on_behalf
    # ssh(1) ends its ProxyCommand by SIGHUP, and shows what is written to stderr: nothing.
    with suppress(KeyboardInterrupt), ended_as_interrupted(), control_client(settings, settings.output) as client:
        blocks = Blocks(settings.output, network.files(), stdin=False, stdout=False)
        with client.open_stream("proxy", request, blocks.handle, lambda: blocks.wait(client)) as sock:
            carry_stdio(client, sock)
