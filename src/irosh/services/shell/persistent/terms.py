"""What a session is, whom it is shared with, and how it has ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from irosh.services.shell.persistent.codec import End, Size
from irosh.services.shell.persistent.screen import MAX_COLUMNS, MAX_ROWS


@dataclass
class Share:
    """How a session is shared with guests. ``removed``: identities that may not come back."""

    id: str
    read_only: bool
    users: int
    by: str | None = None
    """Who shares it: the endpoint id of a peer, None for the owner of this machine."""
    keyboard: dict[str, bool] = field(default_factory=dict)
    """Whether a guest may type, where the owner said so; by endpoint id."""
    removed: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class SessionTerms:
    """What a session is. ``owner``: the endpoint id of the peer that began it, None on the host itself."""

    name: str
    owner: str | None
    account: str
    command: str | None
    switches_account: bool
    """Whether it runs as another user than the host."""


def within_limits(size: Size) -> Size:
    """A size that the host can bear."""
    return Size(
        min(max(1, size.columns), MAX_COLUMNS),
        min(max(1, size.rows), MAX_ROWS),
        max(0, size.width),
        max(0, size.height),
    )


def end_of(status: int, name: str) -> End:
    """How a program with this exit status, or minus the number of a signal, has ended."""
    if status >= 0:
        return End(status=status, name=name)
    try:
        return End(signal=signal.Signals(-status).name.removeprefix("SIG"), name=name)
    except ValueError:
        return End(signal=str(-status), name=name)
