"""What opens a stream of service ``session``, and what attached commands ask of the node about sessions."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.target_request import TargetRequest
from irosh.services.shell.persistent.codec import Manage

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")


class SessionRequest(msgspec.Struct, omit_defaults=True):
    """``attach``: to session ``name``, which is begun if it is missing and ``create`` says so, with what follows.

    ``join``: a shared session, the one called ``name`` or the latest that the peer may join. ``manage``: ask about
    sessions and change them, by frames. ``adopt``: make the SSH session that the peer calls ``handle`` a session
    ``name``, and attach to it.
    """

    purpose: Literal["attach", "join", "manage", "adopt"]
    name: str | None = None
    create: bool = False
    user: str | None = None
    command: str | None = None
    terminal: str | None = None
    size: tuple[int, int, int, int] | None = None
    modes: dict[int, int] = msgspec.field(default_factory=dict)
    env: dict[str, str] = msgspec.field(default_factory=dict)
    handle: str = ""

    @property
    def summary(self) -> str:
        """What the stream is for, as ``irosh status`` shows it."""
        return f"{self.purpose} {self.name or ''}".strip()


class AttachRequest(TargetRequest, kw_only=True):
    """Operation ``session.attach``; an empty ``target`` means this machine."""

    session: SessionRequest


class ManageRequest(TargetRequest, kw_only=True):
    """Operation ``session.manage``; an empty ``target`` means this machine."""

    command: str
    session: str | None = None
    guest: str | None = None
    read_only: bool = False
    users: int = 1
    lifetime: float | None = None

    def manage(self) -> Manage:
        """What is asked of the host."""
        return Manage(self.command, self.session, self.guest, self.read_only, self.users, self.lifetime)


class MoveRequest(msgspec.Struct, kw_only=True):
    """Operation ``session.move``: make the session of operation ``connect`` that has this ``handle`` one of the host's
    sessions, without a break."""

    handle: str


class ShareRequest(msgspec.Struct, kw_only=True):
    """Operation ``session.share``: ``lifetime`` of the ticket in seconds; ``record``: a file of this machine."""

    session: SessionRequest
    read_only: bool = False
    users: int = 1
    lifetime: float | None = None
    record: str | None = None


def checked_name(name: str) -> str:
    """``name`` if a session can be called so. ``IroshError`` (usage)."""
    if _NAME.fullmatch(name) is None:
        raise IroshError(
            ErrorCode.USAGE,
            f"{name[:40]!r} is no name for a session",
            "up to 32 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    return name
