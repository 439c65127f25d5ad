"""``irosh join``: take part in somebody's shared session."""

from __future__ import annotations

from typing import Any

import click

from irosh.faces.cli.at_session import be_at_session
from irosh.faces.cli.escape_flags import EscapeFlags, escape_flags
from irosh.faces.cli.network_flags import MeetingCommand, NetworkFlags, network_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.target import read_target


@click.command(cls=MeetingCommand)
@click.argument("target", metavar="TICKET")
@click.argument("session", required=False, metavar="[SESSION]")
@escape_flags
@click.option("--name", metavar="NAME", help="Petname to remember the peer by (default: its host name).")
@network_flags(hosting=False)
@common_options
def join(
    settings: Settings, target: str, session: str | None, name: str | None, escapes: EscapeFlags, network: NetworkFlags
) -> int:
    """Take part in a session that somebody shares with you.

    TICKET is what `irosh share` printed there, or, to come back, the name of the peer; `-` stands for the ticket in
    IROSH_TICKET. SESSION is needed only where you were invited to several. You see the screen as it is now, and type
    into it if its owner lets you. Nothing else on that machine is open to you.
    """

    def request(terminal: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        wanted = {key: terminal[key] for key in ("terminal", "size") if key in terminal}
        return "session.attach", {
            **network.request(),
            "target": read_target(target, network.modes),
            "name": name,
            "session": {"purpose": "join", "name": session, **wanted},
        }

    return be_at_session(settings, request, network, escapes=escapes)
