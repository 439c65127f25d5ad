"""Flags about the ssh-agent of whoever runs the command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from irosh.faces.cli.ssh_options import SSHOptions

F = TypeVar("F", bound=Callable[..., Any])


def agent_flags(function: F) -> F:
    """Add ``-A``, ``-a`` and ``--confirm-agent``, of which the last one counts.

    The command gets it as the keyword argument ``agent``: what :func:`agent_request` takes.
    """

    for option in (
        click.option("--confirm-agent", "agent", flag_value="confirm", help="As -A, but ask before each use of a key."),
        click.option("-a", "agent", flag_value="no", help="Do not, whatever is set for the peer."),
        click.option("-A", "agent", flag_value="yes", help="Let the host use your ssh-agent in this session."),
    ):
        function = option(function)
    return function


def agent_request(agent: str | None, ssh: SSHOptions) -> dict[str, Any]:
    """Fields of a request: what was said on the command line; None: as is set for the peer."""
    return {"forward_agent": agent or ssh.value("ForwardAgent")}
