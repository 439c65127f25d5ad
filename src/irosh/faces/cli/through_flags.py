"""Flags about a way through other machines, the same for every command that can go one."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from irosh.core.ssh_url import is_ssh_url
from irosh.faces.cli.target_completion import complete_station

F = TypeVar("F", bound=Callable[..., Any])

AGENT_VARIABLE = "SSH_AUTH_SOCK"


def through_flags(function: F) -> F:
    """Add ``-J`` and ``--accept-new``; the command gets fields of its request as the keyword argument ``through``."""

    @click.option(
        *("-J", "--jump", "hops"),
        multiple=True,
        metavar="HOP,...",
        shell_complete=complete_station,
        help="Go through these machines, in order.",
    )
    @click.option("--accept-new", is_flag=True, help="Trust an SSH server that is seen for the first time.")
    @functools.wraps(function)
    def wrapped(*args: Any, hops: tuple[str, ...], accept_new: bool, **kwargs: Any) -> Any:
        through = {
            "jump": [hop for given in hops for hop in given.split(",")],
            "accept_new": accept_new,
            "agent_socket": os.environ.get(AGENT_VARIABLE) or None,
            "answers": True,
        }
        return function(*args, through=through, **kwargs)

    return wrapped  # type: ignore[return-value]


def check_direct(through: Mapping[str, Any], target: str, given: Mapping[str, bool]) -> None:
    """``click.UsageError`` when one of the options ``given`` needs a link of this machine's own to TARGET."""
    if not through["jump"] and not is_ssh_url(target):
        return
    for options, is_given in given.items():
        if is_given:
            raise click.UsageError(f"{options} cannot go through other machines; use `ssh` with `irosh proxy -J`")
