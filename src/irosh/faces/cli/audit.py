"""``irosh audit``: who connected, what was used and what was refused."""

from __future__ import annotations

import time

import click

from irosh.core.durations import parse_duration
from irosh.faces.cli.administration import administer
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.table import clock_time, table


@click.command()
@click.option("--limit", type=click.IntRange(1), default=50, metavar="N", help="The newest N entries (50).")
@click.option("--peer", "name", metavar="NAME", help="Only of this peer, by petname or endpoint id.")
@click.option("--since", metavar="TIME", help="Only this far back, such as 1h or 2d.")
@common_options
def audit(settings: Settings, limit: int, name: str | None, since: str | None) -> None:
    """Show who connected, what was used and what was refused; the newest last."""
    earliest = time.time() - parse_duration(since) if since else None
    answer = administer(settings, "audit", limit=limit, name=name, since=earliest)
    if settings.json:
        settings.output.result(answer, "")
        return
    petnames = {known["id"]: known["petname"] for known in administer(settings, "list")["peers"]}
    rows = [
        (
            clock_time(entry["time"]),
            petnames.get(entry["peer"]) or (entry["peer"] or "-")[:10],
            entry["outcome"],
            entry["event"],
            entry["detail"],
        )
        for entry in answer["entries"]
    ]
    text = table(("TIME", "PEER", "OUTCOME", "EVENT", "DETAIL"), rows) if rows else "No entries."
    settings.output.result(answer, text)
