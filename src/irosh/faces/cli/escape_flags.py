"""The flag about escapes, for commands that carry a session."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from irosh.core.escapes import DEFAULT_ESCAPE, parse_escape_character, shown_key

F = TypeVar("F", bound=Callable[..., Any])


def escape_flags(function: F) -> F:
    """Add ``-e`` to a command, which gets the character, or None, as the keyword argument ``escape``."""

    @click.option(
        "-e",
        "escape",
        default=shown_key(DEFAULT_ESCAPE),
        metavar="CHAR|^X|none",
        help=f"Escape character of sessions on a terminal ({shown_key(DEFAULT_ESCAPE)}).",
    )
    @functools.wraps(function)
    def wrapped(*args: Any, escape: str, **kwargs: Any) -> Any:
        return function(*args, escape=parse_escape_character(escape), **kwargs)

    return wrapped  # type: ignore[return-value]
