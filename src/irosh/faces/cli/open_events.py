"""The events of commands that keep sockets open on this machine: `irosh tunnel open`, `irosh proxy --listen`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from irosh.core.errors import IroshError
from irosh.faces.cli.output import Output, style

Describe = Callable[[dict[str, Any]], str]


def show_open_event(output: Output, message: dict[str, Any], *, source: Describe, refused: Describe) -> None:
    """Tell of one event. ``source``: what is at the other end of a listener; ``refused``: whom a refusal is about."""
    fields = {key: value for key, value in message.items() if key != "event"}
    text: str | None
    match message.get("event"):
        case "connected":
            text = f"irosh: connected to {fields['peer']} ({fields['path']})"
        case "listening":
            text = f"  {style(fields['listen'], 'green')}  →  {source(fields)}"
        case "ready":
            text = "irosh: ready; Ctrl-C ends it"
        case "refused":
            text = f"irosh: {refused(fields)}: {_error_text(fields)}"
        case "lost":
            text = f"irosh: connection lost: {_error_text(fields)}; dialling again"
        case "resumed":
            text = f"irosh: connected again after {fields['gap']:.0f} s; open connections went on"
        case "retry":
            text = f"irosh: not yet: {_error_text(fields)}"
        case "restored":
            text = "irosh: connected again"
        case _:
            text = None
    output.event(str(message.get("event")), fields, text)


def _error_text(fields: dict[str, Any]) -> str:
    return str(IroshError.from_dict(fields["error"]))
