"""``irosh share``: this terminal, shared with guests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from irosh.faces.cli.at_session import be_at_session
from irosh.faces.cli.escape_flags import EscapeFlags, escape_flags
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.sharing_flags import SharingFlags, sharing_flags


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND...]")
@escape_flags
@sharing_flags
@click.option("--session", metavar="NAME", help="What the session is called (default: share- and four digits).")
@click.option("--record", type=click.Path(path_type=Path), metavar="FILE", help="Record it there, as asciicast v2.")
@common_options
def share(
    settings: Settings,
    command: tuple[str, ...],
    escapes: EscapeFlags,
    sharing: SharingFlags,
    session: str | None,
    record: Path | None,
) -> int:
    """Begin a session on this machine, a shell or COMMAND, in this terminal, and let guests join it.

    Prints a ticket. Whoever joins with it sees this session and may type into it, and gets at nothing else. It ends
    with its program, or when you leave. `irosh session who`, `grant`, `take` and `remove` say who is there and who
    may type.
    """

    def request(terminal: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        begun = {"purpose": "attach", "name": session, "command": " ".join(command) or None, **terminal}
        return "session.share", {
            "session": begun,
            **sharing.request(),
            "record": None if record is None else str(record.absolute()),
        }

    return be_at_session(settings, request, hosting=True, escapes=escapes)
