"""The events of commands that keep something open on this machine: `irosh tunnel open`, `irosh proxy --listen`,
`irosh vpn`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from irosh.core.errors import IroshError
from irosh.faces.cli.output import Output, style

Describe = Callable[[dict[str, Any]], str]


def show_open_event(output: Output, message: dict[str, Any], *, source: Describe, refused: Describe) -> None:
    """Tell of one event. ``source``: what is at the other end of a listener; ``refused``: whom a refusal is about."""
    fields = {key: value for key, value in message.items() if key != "event"}
    text: str | None
    match message.get("event"):
        case "listening":
            text = f"  {style(fields['listen'], 'green')}  →  {source(fields)}"
        case "ready":
            text = "irosh: ready; Ctrl-C ends it"
        case "refused":
            text = f"irosh: {refused(fields)}: {_error_text(fields)}"
        case _:
            text = link_text(message)
    output.event(str(message.get("event")), fields, text)


def link_text(message: Mapping[str, Any]) -> str | None:
    """What an event says of the link to the peer; None for one that says nothing of it."""
    match message.get("event"):
        case "connected":
            return f"irosh: connected to {message['peer']} ({message['path']})"
        case "lost":
            return f"irosh: connection lost: {_error_text(message)}; dialling again"
        case "resumed":
            return f"irosh: connected again after {message['gap']:.0f} s; open connections went on"
        case "retry":
            return f"irosh: not yet: {_error_text(message)}"
        case "restored":
            return "irosh: connected again"
    return None


def _error_text(fields: Mapping[str, Any]) -> str:
    return str(IroshError.from_dict(fields["error"]))
