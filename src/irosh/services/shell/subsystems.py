"""What else than shells and commands a session can be for. The parts that offer it are put in by the assembly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from irosh.node.accounts import Account
from irosh.node.actions import Grant, Immediate


class HostProgram(Protocol):
    """A program of the host itself that serves a session on its standard streams."""

    @property
    def action(self) -> Immediate:
        """What the peer must be allowed."""

    @property
    def refusal(self) -> str:
        """If not empty: why the session cannot be served all the same, for the person at the other end."""

    def arguments(self, grant: Grant, account: Account, client_version: str) -> Sequence[str]:
        """The command. It is started with the host's rights and becomes ``account`` by itself."""


class Subsystems(Protocol):
    """Finds the program for what a client asks."""

    def named(self, name: str) -> HostProgram | None:
        """For a subsystem."""

    def standing_in_for(self, command: str) -> HostProgram | None:
        """For a command that the peer may not run, but that we can serve without running it."""
