"""How a new ticket is shown: what it grants, the line to type on the other machine, and a QR code."""

from __future__ import annotations

import time
from typing import Any, TextIO

import click

from irosh.faces.cli.output import style

qr_option = click.option("--qr", is_flag=True, help="Show the ticket as a QR code too.")


def invitation_text(made: dict[str, Any], stream: TextIO, *, qr: bool) -> str:
    """Text about the invite ``made`` by operation ``invite``, for ``stream``; with ``qr`` the code below it."""
    from irosh.core.durations import format_duration

    who = "one peer" if made["uses"] == 1 else f"{made['uses']} peers"
    lifetime = format_duration(max(1, round(made["expires_at"] - time.time())))
    lines = [
        f"The ticket lets {who} in, for {lifetime} from now, with: {' '.join(made['capabilities'])}",
        *([f"It must also give: {' '.join(made['require'])}"] if made["require"] else []),
        "",
        "On the other machine:",
        "",
        f"    {style('irosh connect ' + made['ticket'], 'green', stream)}",
        "",
    ]
    if qr:
        # Upper case fits the compact alphanumeric mode; tickets are read in either.
        lines.append(qr_code(made["ticket"].upper()))
    return "\n".join(lines)


def qr_code(text: str) -> str:
    """``text`` as a QR code for a terminal."""
    import io

    import segno

    buffer = io.StringIO()
    segno.make(text, error="l").terminal(buffer, compact=True)
    return buffer.getvalue()
