"""The flags about guests of a shared session, for ``irosh share`` and for ``share`` at the prompt."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from irosh.core.durations import parse_duration
from irosh.services.shell.persistent.codec import MAX_USERS

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class SharingFlags:
    """``lifetime`` of the ticket in seconds, None: as every invite's."""

    read_only: bool
    users: int
    lifetime: float | None

    def request(self) -> dict[str, Any]:
        """As operations have it."""
        return {"read_only": self.read_only, "users": self.users, "lifetime": self.lifetime}


def sharing_flags(function: F) -> F:
    """Add them; the command gets :class:`SharingFlags` as the keyword argument ``sharing``."""

    @click.option("--read-only", is_flag=True, help="Guests may look, not type, until you grant it.")
    @click.option(
        "--users", type=click.IntRange(1, MAX_USERS), default=1, metavar="N", help="Guests that may come (default 1)."
    )
    @click.option("--expires", metavar="TIME", help="How long the ticket may be used, such as 10m (default 1h).")
    @functools.wraps(function)
    def wrapped(*args: Any, read_only: bool, users: int, expires: str | None, **kwargs: Any) -> Any:
        lifetime = parse_duration(expires) if expires else None
        return function(*args, sharing=SharingFlags(read_only, users, lifetime), **kwargs)

    return wrapped  # type: ignore[return-value]
