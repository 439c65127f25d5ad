"""``share`` and ``unshare`` at the prompt: others may join the session that it was opened in."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

import click

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.prompt_line import PromptLine
from irosh.faces.cli.prompt.commands import Candidate
from irosh.faces.cli.prompt.context import PromptContext
from irosh.faces.cli.prompt.guests import ask_node, manage
from irosh.faces.cli.session_flags import shared_text
from irosh.faces.cli.sharing_flags import SharingFlags, sharing_flags

_OPTIONS = ("--read-only", "--users", "--expires")


@click.command("share", add_help_option=False)
@sharing_flags
def _share(sharing: SharingFlags) -> SharingFlags:
    return sharing


def share(context: PromptContext, line: PromptLine) -> None:
    """Print a ticket with which others may join."""
    wanted = _parsed(line.rest)
    if context.session is None:
        if context.handle is None:
            raise IroshError(
                ErrorCode.USAGE,
                "this session cannot be shared",
                "with -A guests could use your agent: connect without it; ordinary SSH servers let nobody join",
            )
        context.session = str(ask_node(context, "session.move", {"handle": context.handle})["session"])
    made = manage(context, "share", **wanted.request())
    try:
        context.say(shared_text(made, raw=False))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise IroshError(ErrorCode.PROTOCOL, "the host has given a malformed answer") from None


def unshare(context: PromptContext, line: PromptLine) -> None:
    """Guests leave, and the ticket is worth nothing any more."""
    if line.rest:
        raise IroshError(ErrorCode.USAGE, "unshare takes nothing")
    left = manage(context, "unshare")["left"]
    context.say("nobody else may join any more" + (f"; {left} had to leave" if left else ""))


def complete_share(_context: PromptContext, _line: PromptLine, text: str) -> Iterable[Candidate]:
    """Its options."""
    word = text.rpartition(" ")[2]
    return [Candidate(each, len(word), each) for each in _OPTIONS if word and each.startswith(word)]


def _parsed(text: str) -> SharingFlags:
    try:
        parsed: Any = _share.main(shlex.split(text), prog_name="share", standalone_mode=False)
    except (click.ClickException, ValueError) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        raise IroshError(ErrorCode.USAGE, message, "share [--read-only] [--users N] [--expires TIME]") from None
    assert isinstance(parsed, SharingFlags)
    return parsed
