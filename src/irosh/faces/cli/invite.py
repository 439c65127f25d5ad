"""``irosh invite``: further tickets from the running host."""

from __future__ import annotations

import sys
import time

import click

from irosh.core.durations import format_duration, parse_duration
from irosh.faces.cli.administration import administer
from irosh.faces.cli.invitation import invitation_text, qr_option
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.peer_factors import require_option
from irosh.faces.cli.running import running_node
from irosh.faces.cli.table import table


@click.command()
@click.option("--allow", "capabilities", multiple=True, metavar="CAP", help="What the invite grants; repeatable.")
@click.option("--uses", type=click.IntRange(1, 10_000), metavar="N", help="Peers that may use it (default 1).")
@click.option("--expires", metavar="TIME", help="How long it may be used, such as 10m (default 1h).")
@click.option("--list", "list_them", is_flag=True, help="Show the invites that can still be used instead.")
@require_option
@qr_option
@common_options
def invite(
    settings: Settings,
    capabilities: tuple[str, ...],
    uses: int | None,
    expires: str | None,
    list_them: bool,
    require: tuple[str, ...],
    qr: bool,
) -> None:
    """Make a new ticket for the running host.

    Each ticket holds an invite of its own; whoever connects with it is pinned as a peer. Without --allow the peer may
    use a shell, run commands and reach services on this machine.
    """
    if list_them:
        _list(settings)
        return
    lifetime = parse_duration(expires) if expires else None
    with running_node(settings) as client:
        asked = {
            "capabilities": list(capabilities) or None,
            "uses": uses,
            "lifetime": lifetime,
            "factors": list(require) or None,
        }
        made = client.call("invite", asked)
    settings.output.result(made, "" if settings.json else invitation_text(made, sys.stdout, qr=qr))


def _list(settings: Settings) -> None:
    answer = administer(settings, "invites")
    now = time.time()
    rows = [
        (
            invite["id"],
            f"{invite['uses_left']} of {invite['uses']}",
            format_duration(max(1, round(invite["expires_at"] - now))),
            " ".join(invite["capabilities"]),
        )
        for invite in answer["invites"]
    ]
    text = table(("INVITE", "USES LEFT", "EXPIRES IN", "GRANTS"), rows) if rows else "No invite can be used now."
    settings.output.result(answer, text)
