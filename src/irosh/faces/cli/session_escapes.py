"""What the escapes typed in a session do: ``~.``, ``~B``, ``~^Z`` and the others of :mod:`irosh.core.escapes`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Protocol

from irosh.core.escapes import Escape, EscapeFilter, help_lines, shown_escape
from irosh.faces.cli.options import Settings
from irosh.faces.cli.running import Abandoned
from irosh.faces.cli.terminal import LocalTerminal

BREAK_LENGTH = 1000  # milliseconds, as ssh sends


class Session(Protocol):
    """What escapes need of whoever carries the session."""

    def send(self, keys: bytes) -> None:
        """Queue input for the remote side."""

    def message(self, fields: dict[str, Any]) -> None:
        """Queue a message to the node."""


class SessionEscapes:
    """Looks for escapes in what is typed, and acts on them. ``character`` None: there are none."""

    def __init__(self, settings: Settings, character: int | None, terminal: LocalTerminal | None) -> None:
        self.character = character
        self._filter = EscapeFilter(character)
        self._settings = settings
        self._terminal = terminal
        self._verbosity = settings.verbosity
        self._session: Session | None = None
        self._peer = ""
        self._node = 0
        self._actions: dict[Escape, Callable[[Escape], None]] = {
            Escape.TERMINATE: self._terminate,
            Escape.BREAK: self._break,
            Escape.REKEY: self._rekey,
            Escape.QUIETER: self._change_verbosity,
            Escape.LOUDER: self._change_verbosity,
            Escape.SUSPEND: self._suspend,
            Escape.HELP: self._help,
            Escape.DETACH: self._detach,
        }

    def begin(self, session: Session, connected: dict[str, Any]) -> None:
        """The session that is meant from now on; ``connected`` is the event it began with."""
        self._session = session
        self._peer = str(connected["peer"])
        self._node = int(connected["node"])
        if self._terminal is not None and self._node_is_here:
            from irosh.faces.cli.verbosity import show_log

            show_log(self._verbosity)  # warnings too shall look right on a raw terminal

    def typed(self, keys: bytes) -> None:
        """Send ``keys``, but for the escapes in them. :class:`Abandoned` when they end the session."""
        assert self._session is not None
        while keys:
            found = self._filter.feed(keys)
            keys = found.rest
            if found.send:
                self._session.send(found.send)
            if found.escape is not None:
                self._act(found.escape)

    def handle(self, message: dict[str, Any]) -> bool:
        """Tell what came of an escape, if that is what an event of the node is about."""
        if message.get("event") == "session":
            self._filter.may_detach = True
        if message.get("event") != "rekeyed":
            return False
        self._say(Escape.REKEY, f"[{'new keys' if message['done'] else 'the peer does not answer'}]")
        return True

    @property
    def _node_is_here(self) -> bool:
        return self._node == os.getpid()

    def _act(self, escape: Escape) -> None:
        if (reason := self._unavailable().get(escape)) is not None:
            self._say(escape, f"[not available: {reason}]")
        else:
            self._actions[escape](escape)

    def _unavailable(self) -> dict[Escape, str]:
        """Why an escape cannot be used now."""
        reasons = {escape: "not in this version" for escape in Escape if escape not in self._actions}
        if not self._node_is_here:
            elsewhere = f"process {self._node} has the connection, and a log of its own"
            reasons |= {Escape.QUIETER: elsewhere, Escape.LOUDER: elsewhere}
        if self._terminal is None:
            reasons[Escape.SUSPEND] = "there is no terminal here"
        if not self._filter.may_detach:
            reasons[Escape.DETACH] = "the session does not stay"
        else:
            reasons |= dict.fromkeys((Escape.BREAK, Escape.REKEY), "a session that stays has no SSH connection")
        return reasons

    def _terminate(self, escape: Escape) -> None:
        self._say(escape)
        raise Abandoned(f"connection to {self._peer} closed")

    def _detach(self, escape: Escape) -> None:
        assert self._session is not None
        self._say(escape)
        self._session.message({"detach": True})

    def _break(self, escape: Escape) -> None:
        assert self._session is not None
        self._say(escape)
        self._session.message({"break": BREAK_LENGTH})

    def _rekey(self, _escape: Escape) -> None:
        assert self._session is not None
        self._session.message({"rekey": True})

    def _change_verbosity(self, escape: Escape) -> None:
        from irosh.faces.cli.verbosity import LEAST, MOST, show_log

        step = 1 if escape is Escape.LOUDER else -1
        self._verbosity = max(LEAST, min(self._verbosity + step, MOST))
        self._say(escape, f"[LogLevel {show_log(self._verbosity)}]")

    def _suspend(self, escape: Escape) -> None:
        assert self._terminal is not None
        self._say(escape, "[suspend irosh]")
        self._terminal.suspend()

    def _help(self, escape: Escape) -> None:
        assert self.character is not None
        self._say(escape)
        for line in help_lines(self.character, self._unavailable()):
            _write(line)

    def _say(self, escape: Escape, text: str = "") -> None:
        assert self.character is not None
        _write(f"{shown_escape(self.character, escape)} {text}".rstrip())


def _write(line: str) -> None:
    """A line on the terminal, which is in raw mode."""
    sys.stderr.write(f"{line}\r\n")
    sys.stderr.flush()
