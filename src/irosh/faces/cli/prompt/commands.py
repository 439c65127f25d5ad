"""The commands of the prompt: one table, from which running, completion and ``help`` go. A new one is one line here.

Each names a function ``run(context, line)`` and maybe one ``complete(context, line, text)``, as ``module:attribute``
below ``irosh.faces.cli``, imported when used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.prompt_line import PromptLine
from irosh.core.wording import did_you_mean, quoted
from irosh.faces.cli.prompt.context import PromptContext


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may stand in place of the last ``replaces`` characters of a line; ``shown`` in a list of several."""

    text: str
    replaces: int
    shown: str = ""


@dataclass(frozen=True, slots=True)
class PromptCommand:
    """``usage`` and ``text`` are for people; ``run`` and ``complete`` are where the functions are."""

    usage: str
    text: str
    run: str
    complete: str = ""


COMMANDS: dict[str, PromptCommand] = {
    "-L": PromptCommand("-L[bind:]port:host:hostport", "listen here, connect there", "prompt.forwards:add"),
    "-R": PromptCommand("-R[bind:]port[:host:hostport]", "listen there, connect here", "prompt.forwards:add"),
    "-D": PromptCommand("-D[bind:]port", "SOCKS server here, connects there", "prompt.forwards:add"),
    "-KL": PromptCommand(
        "-KL[bind:]port", "cancel a local forward", "prompt.forwards:cancel", "prompt.forwards:complete_cancel"
    ),
    "-KR": PromptCommand(
        "-KR[bind:]port", "cancel a remote forward", "prompt.forwards:cancel", "prompt.forwards:complete_cancel"
    ),
    "-KD": PromptCommand(
        "-KD[bind:]port", "cancel a dynamic forward", "prompt.forwards:cancel", "prompt.forwards:complete_cancel"
    ),
    "put": PromptCommand(
        "put [-r] [-a] LOCAL... [REMOTE]",
        "copy files there; -a goes on with what is left of an earlier try",
        "prompt.files:put",
        "prompt.files:complete_put",
    ),
    "get": PromptCommand(
        "get [-r] [-a] REMOTE... [LOCAL]", "copy files here", "prompt.files:get", "prompt.files:complete_get"
    ),
    "cancel": PromptCommand("cancel NUMBER", "end a transfer", "prompt.files:cancel", "prompt.files:complete_cancel"),
    "lls": PromptCommand("lls [-l] [PATH]", "list files here", "prompt.local:lls", "prompt.local:complete_path"),
    "lcd": PromptCommand("lcd [PATH]", "go to another folder here", "prompt.local:lcd", "prompt.local:complete_folder"),
    "lpwd": PromptCommand("lpwd", "show the folder here", "prompt.local:lpwd"),
    "share": PromptCommand(
        "share [--read-only] [--users N] [--expires TIME]",
        "let others join this session; prints the ticket",
        "prompt.sharing:share",
        "prompt.sharing:complete_share",
    ),
    "unshare": PromptCommand("unshare", "let nobody join any more; guests leave", "prompt.sharing:unshare"),
    "who": PromptCommand("who", "show who is at this session, and who may type", "prompt.guests:who"),
    "grant": PromptCommand(
        "grant GUEST", "let a guest type; * is all of them", "prompt.guests:about_guest", "prompt.guests:complete_guest"
    ),
    "take": PromptCommand(
        "take GUEST", "take the keyboard from a guest", "prompt.guests:about_guest", "prompt.guests:complete_guest"
    ),
    "remove": PromptCommand(
        "remove GUEST", "remove a guest for good", "prompt.guests:about_guest", "prompt.guests:complete_guest"
    ),
    "status": PromptCommand("status", "show the connection, forwards and transfers", "prompt.status:show"),
    "help": PromptCommand("help [COMMAND]", "this list", "prompt.commands:show_help", "prompt.commands:complete_help"),
}

Complete = Callable[[PromptContext, PromptLine, str], Iterable[Candidate]]
"""What the text behind a command may go on with, up to the cursor."""


def run_command(context: PromptContext, line: PromptLine) -> None:
    """Run what was typed. ``IroshError`` when it fails, or there is no such command."""
    command = COMMANDS.get(line.command)
    if command is None:
        raise IroshError(
            ErrorCode.USAGE, f"there is no command {quoted(line.command)}", did_you_mean(line.command, COMMANDS)
        )
    _imported(command.run)(context, line)


def complete(context: PromptContext, line: PromptLine, before: str) -> Iterable[Candidate]:
    """What the line up to the cursor, ``before``, may go on with."""
    command = COMMANDS.get(line.command)
    if before.lstrip() == line.command and (command is None or not line.command.startswith("-")):
        begun = [name for name in COMMANDS if name.startswith(line.command)]
        return [Candidate(name + _space(name), len(line.command), name) for name in begun]
    if command is None or not command.complete:
        return ()
    function: Complete = _imported(command.complete)
    return function(context, line, before[line.column :])


def show_help(context: PromptContext, line: PromptLine) -> None:
    """``help``: the table, or one line of it."""
    wanted = line.rest.strip()
    if wanted and wanted not in COMMANDS:
        raise IroshError(ErrorCode.USAGE, f"there is no command {quoted(wanted)}", did_you_mean(wanted, COMMANDS))
    shown = [COMMANDS[wanted]] if wanted else list(COMMANDS.values())
    width = max(len(command.usage) for command in COMMANDS.values())
    context.say("\n".join(["Commands:", *(f"  {each.usage:<{width}}  {each.text}" for each in shown)]))
    if not wanted:
        context.say("Ctrl-C, Ctrl-D or an empty line goes back to the session.")


def complete_help(_context: PromptContext, _line: PromptLine, text: str) -> Iterable[Candidate]:
    """Names of commands."""
    return [Candidate(name, len(text), name) for name in COMMANDS if name.startswith(text)]


def _space(name: str) -> str:
    return "" if name.startswith("-") else " "


def _imported(where: str) -> Any:
    module, _, attribute = where.partition(":")
    return getattr(import_module(f"irosh.faces.cli.{module}"), attribute)
