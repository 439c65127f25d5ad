"""The flags about escapes, for commands that carry a session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from irosh.core.escapes import DEFAULT_ESCAPE, parse_escape_character, shown_key
from irosh.faces.cli.ssh_options import SSHOptions

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class EscapeFlags:
    """``character`` None: there are no escapes. ``command_line``: whether ``~C`` may be used."""

    character: int | None
    command_line: bool


def escape_flags(function: F) -> F:
    """Add ``-e``; the command gets :class:`EscapeFlags` as the keyword argument ``escapes``. ``-o``, if it has that
    too, says what ``-e`` does not."""

    @click.option(
        "-e",
        "escape_text",
        metavar="CHAR|^X|none",
        help=f"Escape character of sessions on a terminal ({shown_key(DEFAULT_ESCAPE)}).",
    )
    @functools.wraps(function)
    def wrapped(*args: Any, escape_text: str | None, **kwargs: Any) -> Any:
        ssh: SSHOptions | None = kwargs.get("ssh")
        text = ssh.value("EscapeChar") if ssh is not None and escape_text is None else escape_text
        escapes = EscapeFlags(
            character=DEFAULT_ESCAPE if text is None else parse_escape_character(text),
            command_line=ssh is None or ssh.value("EnableEscapeCommandline") != "no",
        )
        return function(*args, escapes=escapes, **kwargs)

    return wrapped  # type: ignore[return-value]
