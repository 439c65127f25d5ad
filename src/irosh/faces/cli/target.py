"""TARGET arguments. A ticket with an invite is a secret, and command lines are not: it may come by environment."""

from __future__ import annotations

import os

import click

TICKET_VARIABLE = "IROSH_TICKET"


def read_target(text: str) -> str:
    """``text``, or the ticket in ``IROSH_TICKET`` when it is ``-``."""
    if text.strip() != "-":
        return text
    ticket = os.environ.get(TICKET_VARIABLE, "")
    if not ticket:
        raise click.UsageError(f"TARGET - takes the ticket from the environment: {TICKET_VARIABLE} is not set")
    return ticket
