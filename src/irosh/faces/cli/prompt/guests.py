"""``who``, ``grant``, ``take`` and ``remove`` at the prompt: the others at the session it was opened in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.prompt_line import PromptLine
from irosh.core.state import StateDirectory
from irosh.faces.cli.prompt.commands import Candidate
from irosh.faces.cli.prompt.context import PromptContext
from irosh.faces.cli.session_flags import participants_table
from irosh.faces.cli.table import printable
from irosh.node.control_client import ControlClient

PATIENCE = 3.0  # seconds for the node and the host to answer
_OUTCOMES = {"grant": "may type", "take": "may only look", "remove": "has no place here any more"}


def who(context: PromptContext, line: PromptLine) -> None:
    """Who is here, and who may type."""
    if line.rest:
        raise IroshError(ErrorCode.USAGE, "who takes nothing")
    context.say(participants_table(_asked(context, "who")["participants"]))


def about_guest(context: PromptContext, line: PromptLine) -> None:
    """``grant``, ``take`` and ``remove``."""
    guest = line.rest.strip()
    if not guest:
        raise IroshError(
            ErrorCode.USAGE, f"{line.command} whom?", f"{line.command} GUEST, or * for all; `who` lists them"
        )
    answer = _asked(context, line.command, guest)
    names = ", ".join(map(printable, answer.get("changed", answer.get("removed", []))))
    context.say(f"{names} {_OUTCOMES[line.command]}")


def complete_guest(context: PromptContext, _line: PromptLine, text: str) -> Iterable[Candidate]:
    """Names of guests."""
    guests = {str(each["who"]) for each in _asked(context, "who")["participants"] if not each["owner"]}
    return [Candidate(name, len(text), name) for name in sorted(guests) if name.startswith(text)]


def _asked(context: PromptContext, command: str, guest: str | None = None) -> dict[str, Any]:
    if context.session is None:
        raise IroshError(
            ErrorCode.USAGE,
            "nobody else can be at this session",
            "irosh share and irosh connect --session begin others",
        )
    target = "" if context.here else context.peer_id
    with ControlClient(StateDirectory(context.settings.state_path).control_socket_path) as client:
        client.socket.settimeout(PATIENCE)
        asked = {"target": target, "command": command, "session": context.session, "guest": guest}
        return client.call("session.manage", asked)
