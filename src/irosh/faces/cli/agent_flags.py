"""Flags about the ssh-agent of whoever runs the command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def agent_flags(function: F) -> F:
    """Add ``-A`` and ``--confirm-agent``; the command gets fields of its request as the keyword argument ``agent``."""

    @click.option("-A", "forward", is_flag=True, help="Let the host use your ssh-agent in this session.")
    @click.option("--confirm-agent", "confirm", is_flag=True, help="As -A, but ask before each use of a key.")
    @functools.wraps(function)
    def wrapped(*args: Any, forward: bool, confirm: bool, **kwargs: Any) -> Any:
        chosen = "confirm" if confirm else "yes" if forward else "no"
        return function(*args, agent={"forward_agent": chosen}, **kwargs)

    return wrapped  # type: ignore[return-value]
