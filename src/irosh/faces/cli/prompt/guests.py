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
    context.say(participants_table(manage(context, "who")["participants"]))


def about_guest(context: PromptContext, line: PromptLine) -> None:
    """``grant``, ``take`` and ``remove``."""
    guest = line.rest.strip()
    if not guest:
        raise IroshError(
            ErrorCode.USAGE, f"{line.command} whom?", f"{line.command} GUEST, or * for all; `who` lists them"
        )
    answer = manage(context, line.command, guest=guest)
    names = ", ".join(map(printable, answer.get("changed", answer.get("removed", []))))
    context.say(f"{names} {_OUTCOMES[line.command]}")


def complete_guest(context: PromptContext, _line: PromptLine, text: str) -> Iterable[Candidate]:
    """Names of guests."""
    guests = {str(each["who"]) for each in manage(context, "who")["participants"] if not each["owner"]}
    return [Candidate(name, len(text), name) for name in sorted(guests) if name.startswith(text)]


def manage(context: PromptContext, command: str, **asked: Any) -> dict[str, Any]:
    """Do a command about the session that the prompt was opened in. ``IroshError`` when it fails."""
    if context.session is None:
        raise IroshError(ErrorCode.USAGE, "nobody else is at this session", "`share` lets others join it")
    if context.guest:
        raise IroshError(ErrorCode.DENIED, "only the owner of a session may do that")
    target = "" if context.here else context.peer_id
    return ask_node(
        context, "session.manage", {"target": target, "command": command, "session": context.session, **asked}
    )


def ask_node(context: PromptContext, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Have the node do an operation."""
    with ControlClient(StateDirectory(context.settings.state_path).control_socket_path) as client:
        client.socket.settimeout(PATIENCE)
        return client.call(operation, arguments)
