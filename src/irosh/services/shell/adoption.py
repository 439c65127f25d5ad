"""Sessions of SSH that can become sessions that stay: the host finds them by what their client calls them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.accounts import Account
from irosh.services.shell.persistent.pace import Pace
from irosh.services.shell.processes import SessionProcess

if TYPE_CHECKING:
    from irosh.services.shell.followed import FollowedTerminal

HANDLE = "IROSH_HANDLE"
"""The environment variable by which a client names a session when it begins; its program does not get to see it."""
LONGEST_HANDLE = 64


@dataclass(frozen=True)
class Adopted:
    """What somebody takes over: a program, and what its terminal shows."""

    process: SessionProcess
    terminal: FollowedTerminal


class Adoptable(Protocol):
    """A session on a terminal. ``command`` None: a shell."""

    @property
    def account(self) -> Account: ...

    @property
    def command(self) -> str | None: ...

    async def give_away(self) -> Adopted:
        """Have nothing more to do with the program. ``IroshError`` (busy, session-unknown) if that is not possible."""


@dataclass
class Adoptables:
    """Those of one node, by the endpoint id of whose they are, and the handle. ``pace``: at which they are followed."""

    pace: Pace
    _sessions: dict[tuple[str, str], Adoptable] = field(default_factory=dict)

    @contextmanager
    def offered(self, peer_id: str, handle: str, session: Adoptable) -> Iterator[None]:
        """It can be found while the context lasts; the first one of a name, if a peer uses it twice."""
        key = (peer_id, handle[:LONGEST_HANDLE])
        offered = self._sessions.setdefault(key, session)
        try:
            yield
        finally:
            if offered is session:
                del self._sessions[key]

    def find(self, peer_id: str, handle: str) -> Adoptable:
        """``IroshError`` (session-unknown)."""
        session = self._sessions.get((peer_id, handle))
        if session is None:
            raise IroshError(
                ErrorCode.SESSION_UNKNOWN,
                "this session cannot be shared",
                "it began before the host allowed that: begin another; of one with -A, guests could use the agent",
            )
        return session
