"""``irosh share``: this terminal, shared with guests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from irosh.core.durations import parse_duration
from irosh.faces.cli.at_session import be_at_session
from irosh.faces.cli.escape_flags import EscapeFlags, escape_flags
from irosh.faces.cli.options import Settings, common_options


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND...]")
@escape_flags
@click.option("--read-only", is_flag=True, help="Guests may look, not type, until you grant it.")
@click.option("--users", type=click.IntRange(1, 32), default=1, metavar="N", help="Guests that may come (default 1).")
@click.option("--expires", metavar="TIME", help="How long the ticket may be used, such as 10m (default 1h).")
@click.option("--session", metavar="NAME", help="What the session is called (default: share- and four digits).")
@click.option("--record", type=click.Path(path_type=Path), metavar="FILE", help="Record it there, as asciicast v2.")
@common_options
def share(
    settings: Settings,
    command: tuple[str, ...],
    escapes: EscapeFlags,
    read_only: bool,
    users: int,
    expires: str | None,
    session: str | None,
    record: Path | None,
) -> int:
    """Begin a session on this machine, a shell or COMMAND, in this terminal, and let guests join it.

    Prints a ticket. Whoever joins with it sees this session and may type into it, and gets at nothing else. It ends
    with its program, or when you leave. `irosh session who`, `grant`, `take` and `remove` say who is there and who
    may type.
    """
    lifetime = parse_duration(expires) if expires else None

    def request(terminal: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        begun = {"purpose": "attach", "name": session, "command": " ".join(command) or None, **terminal}
        return "session.share", {
            "session": begun,
            "read_only": read_only,
            "users": users,
            "lifetime": lifetime,
            "record": None if record is None else str(record.absolute()),
        }

    return be_at_session(settings, request, hosting=True, escapes=escapes)
