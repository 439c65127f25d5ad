"""What the commands of the prompt work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from irosh.faces.cli.options import Settings

if TYPE_CHECKING:
    from irosh.faces.cli.prompt.forwards import SessionForwards
    from irosh.faces.cli.prompt.transfers import Transfers


@dataclass
class PromptContext:
    """The session that the prompt was opened in.

    ``say`` prints lines, which must be safe to print, from any thread. ``directory`` is where local paths begin; it is
    not that of the process, so that nothing else in it goes astray.
    """

    settings: Settings
    peer: str
    peer_id: str
    user: str | None
    say: Callable[[str], None]
    forwards: SessionForwards
    transfers: Transfers
    session: str | None = None
    """The name of a session that stays; None for any other."""
    handle: str | None = None
    """By what a session that does not stay can become one that does; None if it cannot."""
    here: bool = False
    """It is on this machine."""
    guest: bool = False
    """It is somebody else's."""
    directory: Path = field(default_factory=Path.cwd)
