"""``irosh host``: the node that lets peers in."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from pathlib import Path
from typing import Any

import click

from irosh.core.durations import parse_duration
from irosh.faces.cli.invitation import invitation_text, qr_option
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.output import style
from irosh.faces.cli.peer_factors import require_option


@click.command(cls=MeetingCommand)
@network_flags(hosting=True)
@click.option("--bind", metavar="ADDR:PORT", help="UDP address to listen on (default: any, a free port).")
@click.option("--allow", "capabilities", multiple=True, metavar="CAP", help="What the invite grants; repeatable.")
@click.option("--invite-uses", type=click.IntRange(1, 10_000), metavar="N", help="Peers that may use it (default 1).")
@click.option("--invite-expires", metavar="TIME", help="How long it may be used, such as 10m (default 1h).")
@click.option("--metrics-listen", metavar="[ADDR:]PORT", help="Serve Prometheus metrics by HTTP (127.0.0.1:PORT).")
@require_option
@click.option("--authorized-keys", metavar="FILE", help="Ed25519 keys in FILE are identities that get in too.")
@qr_option
@common_options
def host(
    settings: Settings,
    network: NetworkFlags,
    bind: str | None,
    capabilities: tuple[str, ...],
    invite_uses: int | None,
    invite_expires: str | None,
    metrics_listen: str | None,
    require: tuple[str, ...],
    authorized_keys: str | None,
    qr: bool,
) -> None:
    """Let peers connect to this machine until interrupted.

    Prints a ticket with a one-time invite. A peer that connects with it is pinned, and needs no ticket again.
    Without --allow it may use a shell, run commands and reach services on this machine.

    In the modes custom and iroh-manual it prints an offer instead, and takes answers on standard input.
    """
    lifetime = parse_duration(invite_expires) if invite_expires else None
    invite = (capabilities or None, invite_uses, lifetime, require or None)
    keys = Path(authorized_keys).absolute() if authorized_keys else None
    asyncio.run(_host(settings, network, bind, invite, metrics_listen, keys, qr))


async def _host(
    settings: Settings,
    network: NetworkFlags,
    bind: str | None,
    invite: tuple[tuple[str, ...] | None, int | None, float | None, tuple[str, ...] | None],
    metrics_listen: str | None,
    authorized_keys: Path | None,
    qr: bool,
) -> None:
    from irosh.assembly import NodeOptions, assembled_node
    from irosh.core.mode import MANUAL_MODES, Mode
    from irosh.core.network_choice import NetworkChoice
    from irosh.faces.cli.blocks import Blocks
    from irosh.faces.cli.host_exchange import HostExchange
    from irosh.faces.cli.limits import raise_file_limit
    from irosh.node.node import InviteTerms
    from irosh.node.operations import make_invite

    raise_file_limit()
    output = settings.output
    terms = InviteTerms(*invite)
    modes = tuple(dict.fromkeys(Mode(mode) for mode in network.modes)) or (Mode.IROH_DEFAULT,)
    options = NodeOptions(
        state=settings.state_path,
        hosting=True,
        modes=modes,
        network=NetworkChoice(**{**network.choice, "bind": bind}),
        exchange=HostExchange(Blocks(output, network.files(), stdin=True, stdout=True)),
        offered=terms,
        metrics_listen=metrics_listen,
        authorized_keys=authorized_keys,
    )
    async with assembled_node(options) as node:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, node.stop)

        def ready() -> None:
            gc.freeze()  # what there is by now stays; collections, which stop everything, need not look at it
            if MANUAL_MODES.issuperset(modes):
                own = style(node.identity.id[:16], "bold", sys.stderr)
                output.event(
                    "ready",
                    {"id": node.identity.id, "mode": str(modes[0]), "metrics_url": node.metrics_url},
                    f"This machine is {own}…",
                )
                return
            made = make_invite(node, terms)
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
    reach = ", ".join([*made["addresses"], *made["relays"], *made["nostr_relays"]]) or "no address yet"
    own = style(made["id"][:16], "bold", sys.stderr)
    metrics = f"Metrics at {made['metrics_url']}\n" if made["metrics_url"] else ""
    return f"This machine is {own}…, reachable at {reach}\n{metrics}{invitation_text(made, sys.stderr, qr=qr)}"
