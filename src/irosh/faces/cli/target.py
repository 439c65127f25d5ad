"""TARGET arguments. A ticket with an invite is a secret, and command lines are not: it may come by environment."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from irosh.core.mode import MANUAL_MODES

TICKET_VARIABLE = "IROSH_TICKET"


def read_target(text: str, modes: Sequence[str] = ()) -> str:
    """``text``, or the ticket in ``IROSH_TICKET`` when it is ``-``, which in the manual ``modes`` is anybody."""
    if text.strip() != "-":
        return text
    ticket = os.environ.get(TICKET_VARIABLE, "")
    if not ticket and any(mode in MANUAL_MODES for mode in modes):
        return text
    if not ticket:
        raise click.UsageError(f"TARGET - takes the ticket from the environment: {TICKET_VARIABLE} is not set")
    return ticket
