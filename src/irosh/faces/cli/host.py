"""``irosh host``: the node that lets peers in."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

import click

from irosh.core.durations import parse_duration
from irosh.faces.cli.invitation import invitation_text, qr_option
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.output import style


@click.command()
@click.option("--relay", "relays", multiple=True, metavar="URL", help="Relay to be reachable through; repeatable.")
@click.option("--no-relay", is_flag=True, help="Use no relay at all.")
@click.option("--bind", metavar="ADDR:PORT", help="UDP address to listen on (default: any, a free port).")
@click.option("--allow", "capabilities", multiple=True, metavar="CAP", help="What the invite grants; repeatable.")
@click.option("--invite-uses", type=click.IntRange(1, 10_000), metavar="N", help="Peers that may use it (default 1).")
@click.option("--invite-expires", metavar="TIME", help="How long it may be used, such as 10m (default 1h).")
@click.option("--metrics-listen", metavar="[ADDR:]PORT", help="Serve Prometheus metrics by HTTP (127.0.0.1:PORT).")
@qr_option
@common_options
def host(
    settings: Settings,
    relays: tuple[str, ...],
    no_relay: bool,
    bind: str | None,
    capabilities: tuple[str, ...],
    invite_uses: int | None,
    invite_expires: str | None,
    metrics_listen: str | None,
    qr: bool,
) -> None:
    """Let peers connect to this machine until interrupted.

    Prints a ticket with a one-time invite. A peer that connects with it is pinned, and needs no ticket again.
    Without --allow it may use a shell, run commands and reach services on this machine.
    """
    if relays and no_relay:
        raise click.UsageError("--relay and --no-relay exclude each other")
    lifetime = parse_duration(invite_expires) if invite_expires else None
    invite = {"capabilities": list(capabilities) or None, "uses": invite_uses, "lifetime": lifetime}
    chosen = () if no_relay else relays or None
    asyncio.run(_host(settings, chosen, bind, invite, metrics_listen, qr))


async def _host(
    settings: Settings,
    relays: tuple[str, ...] | None,
    bind: str | None,
    invite: dict[str, Any],
    metrics_listen: str | None,
    qr: bool,
) -> None:
    from irosh.assembly import NodeOptions, assembled_node
    from irosh.core.network_options import NetworkChoice
    from irosh.faces.cli.limits import raise_file_limit
    from irosh.node.operations import make_invite

    raise_file_limit()
    output = settings.output
    network = NetworkChoice(relays=relays, bind=bind)
    options = NodeOptions(state=settings.state_path, hosting=True, network=network, metrics_listen=metrics_listen)
    async with assembled_node(options) as node:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, node.stop)

        def ready() -> None:
            made = make_invite(node, invite["capabilities"], uses=invite["uses"], lifetime=invite["lifetime"])
            made["metrics_url"] = node.metrics_url
            output.event("ready", made, _welcome(made, qr))

        async def warn() -> None:
            for problem in await node.modes.problems():
                output.event("warning", {"error": problem.to_dict()}, f"irosh: warning: {problem}")

        warning = asyncio.create_task(warn())
        try:
            await node.run(ready)
        finally:
            warning.cancel()
            await asyncio.gather(warning, return_exceptions=True)
    output.event("stopped", {}, "irosh: stopped")


def _welcome(made: dict[str, Any], qr: bool) -> str:
    reach = ", ".join([*made["addresses"], *made["relays"]]) or "no address yet"
    own = style(made["id"][:16], "bold", sys.stderr)
    metrics = f"Metrics at {made['metrics_url']}\n" if made["metrics_url"] else ""
    return f"This machine is {own}…, reachable at {reach}\n{metrics}{invitation_text(made, sys.stderr, qr=qr)}"
