"""Flags about a way through other machines, the same for every command that can go one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from irosh.core.ssh_url import is_ssh_url
from irosh.faces.cli.target_completion import complete_station

F = TypeVar("F", bound=Callable[..., Any])

AGENT_VARIABLE = "SSH_AUTH_SOCK"


def jump_options(option: Callable[..., Callable[[Any], Any]]) -> list[Callable[[Any], Any]]:
    """``-J`` and ``--accept-new``, made by ``option``."""
    return [
        option(
            *("-J", "--jump", "hops"),
            multiple=True,
            metavar="HOP,...",
            shell_complete=complete_station,
            help="Go through these machines, in order.",
        ),
        option("--accept-new", is_flag=True, help="Trust an SSH server on the way that is seen for the first time."),
    ]


def jump_flags(function: F) -> F:
    """Add them to a command, as the keyword arguments ``hops`` and ``accept_new``."""
    for each in reversed(jump_options(click.option)):
        function = each(function)
    return function


def proxy_options(hops: tuple[str, ...], *, accept_new: bool) -> list[str]:
    """The same options for a command of our own that another program runs."""
    return [*(word for hop in hops for word in ("-J", hop)), *(["--accept-new"] if accept_new else [])]


def taken_jump(given: dict[str, Any]) -> dict[str, Any]:
    """Take what was ``given`` to these options: fields of :class:`irosh.node.target_request.TargetRequest`."""
    return {
        "jump": [hop for each in given.pop("hops", ()) for hop in each.split(",")],
        "accept_new": given.pop("accept_new", False),
        "agent_socket": os.environ.get(AGENT_VARIABLE) or None,
        "answers": True,
    }


def check_link(target: str, given: Mapping[str, bool]) -> None:
    """``click.UsageError`` when TARGET is an SSH server only, and one of the options ``given`` needs a node there."""
    if not is_ssh_url(target):
        return
    for options, is_given in given.items():
        if is_given:
            raise click.UsageError(f"{options} needs irosh at the target; an ssh:// URL names an ordinary SSH server")
