"""What the escapes typed in a session do: ``~.``, ``~B``, ``~^Z`` and the others of :mod:`irosh.core.escapes`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from irosh.core.errors import IroshError
from irosh.core.escapes import Escape, EscapeFilter, help_lines, shown_escape
from irosh.faces.cli.escape_flags import EscapeFlags
from irosh.faces.cli.options import Settings
from irosh.faces.cli.running import Abandoned
from irosh.faces.cli.table import printable
from irosh.faces.cli.terminal import LocalTerminal

if TYPE_CHECKING:
    from irosh.faces.cli.foreground import Foreground
    from irosh.faces.cli.forwarding import Forwarding
    from irosh.faces.cli.prompt.beside import Beside
    from irosh.faces.cli.prompt.console import Console
    from irosh.faces.cli.prompt.context import PromptContext

END_OF_INPUT = b"\x04"  # what ssh types for who leaves by `~&`; a shell that waits for a command ends by it
BREAK_LENGTH = 1000  # milliseconds, as ssh sends


class Session(Protocol):
    """What escapes need of whoever carries the session."""

    def send(self, keys: bytes) -> None:
        """Queue input for the remote side."""

    def message(self, fields: dict[str, Any]) -> None:
        """Queue a message to the node."""

    def lend(self, console: Console, context: PromptContext, typed: bytes) -> bytes:
        """Leave keyboard and screen to the prompt; returns what was typed behind its last line."""

    def detach(self, *, at_once: bool) -> None:
        """Look at keyboard and terminal no more; ``at_once``: and end soon, whatever runs in the session."""


class SessionEscapes:
    """Looks for escapes in what is typed, and acts on them. ``forwarding``: the forwards of the command line."""

    def __init__(
        self,
        settings: Settings,
        flags: EscapeFlags,
        terminal: LocalTerminal | None,
        *,
        user: str | None = None,
        foreground: Foreground | None = None,
        forwarding: Forwarding | None = None,
    ) -> None:
        self.character = flags.character
        self._command_line = flags.command_line
        self._filter = EscapeFilter(flags.character)
        self._settings = settings
        self._terminal = terminal
        self._user = user
        self._foreground = foreground
        self._forwarding = forwarding
        self._verbosity = settings.verbosity
        self._session: Session | None = None
        self._peer = self._peer_id = ""
        self._here = self._is_plain = False
        self._stays: str | None = None
        self._handle: str | None = None
        self._guest = False
        self._prompting = False
        self._leaving = False  # for the background, once the terminal is as it was
        self._node = 0
        self._beside: Beside | None = None  # made by the first escape that needs it
        self._actions: dict[Escape, Callable[[Escape], None]] = {
            Escape.TERMINATE: self._terminate,
            Escape.BREAK: self._break,
            Escape.REKEY: self._rekey,
            Escape.QUIETER: self._change_verbosity,
            Escape.LOUDER: self._change_verbosity,
            Escape.SUSPEND: self._suspend,
            Escape.CONNECTIONS: self._connections,
            Escape.BACKGROUND: self._background,
            Escape.HELP: self._help,
            Escape.DETACH: self._detach,
        }

    def __enter__(self) -> SessionEscapes:
        return self

    def __exit__(self, *_: object) -> None:
        if self._beside is not None:
            self._beside.close()

    def finish(self) -> None:
        """The session has ended: wait for what was begun at the prompt, as ssh does. Ctrl-C ends it."""
        if self._leaving and self._foreground is not None:
            self._release()
        if self._beside is not None:
            self._beside.finish()

    def begin(self, session: Session, connected: dict[str, Any]) -> None:
        """The session that is meant from now on; ``connected`` is the event it began with."""
        self._session = session
        self._here = connected["peer"] is None
        self._peer = "this machine" if self._here else printable(str(connected["peer"]))
        self._peer_id = str(connected["id"])
        self._is_plain = connected["id"] is None and not self._here  # an ordinary SSH server
        self._handle = connected.get("handle")
        self._node = int(connected["node"])
        if self._terminal is not None and self._node_is_here:
            from irosh.faces.cli.verbosity import show_log

            show_log(self._verbosity)  # warnings too shall look right on a raw terminal

    @property
    def hangup(self) -> int | None:
        """A descriptor that can be read once the process that the shell waits for has been killed."""
        return None if self._foreground is None else self._foreground.descriptor

    def typed(self, keys: bytes) -> None:
        """Send ``keys``, but for the escapes in them. :class:`Abandoned` when they end the session."""
        assert self._session is not None
        while keys:
            found = self._filter.feed(keys)
            keys = found.rest
            if found.send:
                self._session.send(found.send)
            if found.escape is None or not self._can(found.escape):
                continue
            if found.escape is Escape.COMMAND_LINE:
                # What is pasted in one go with `~C` was meant for the prompt.
                keys = self._open_prompt(keys)
            else:
                self._actions[found.escape](found.escape)
                if found.escape is Escape.BACKGROUND:
                    return

    def handle(self, message: dict[str, Any]) -> bool:
        """Tell what came of an escape, if that is what an event of the node is about."""
        if message.get("event") == "session":
            self._filter.may_detach = True
            self._stays = str(message["session"])
            self._guest = not message["owner"]
            return self._prompting  # which tells of it itself
        if message.get("event") == "backgrounded":
            assert self._session is not None and self._terminal is not None
            self._terminal.give_back()
            self._release()
            self._session.detach(at_once=False)
            return True
        if message.get("event") != "rekeyed":
            return False
        error = IroshError.from_dict(message["error"]).message if "error" in message else None
        self._say(Escape.REKEY, f"[{printable(error or 'new keys')}]")
        return True

    @property
    def _node_is_here(self) -> bool:
        return self._node == os.getpid()

    def _can(self, escape: Escape) -> bool:
        if (reason := self._unavailable().get(escape)) is not None:
            self._say(escape, f"[not available: {reason}]")
            return False
        return True

    def _unavailable(self) -> dict[Escape, str]:
        """Why an escape cannot be used now."""
        reasons: dict[Escape, str] = {}
        if self._foreground is None:
            reasons[Escape.BACKGROUND] = "this command stays in the foreground"
        if self._here:
            reasons[Escape.CONNECTIONS] = "the session is on this machine"
        if not self._command_line:
            reasons[Escape.COMMAND_LINE] = "it is turned off by -o EnableEscapeCommandline=no"
        if not self._node_is_here:
            elsewhere = f"process {self._node} has the connection, and a log of its own"
            reasons |= {Escape.QUIETER: elsewhere, Escape.LOUDER: elsewhere}
        if self._terminal is None:
            reasons |= dict.fromkeys((Escape.SUSPEND, Escape.COMMAND_LINE), "there is no terminal here")
        elif self._terminal.stalled:
            reasons |= dict.fromkeys((Escape.BACKGROUND, Escape.COMMAND_LINE), "the terminal takes no output")
        if not self._filter.may_detach:
            reasons[Escape.DETACH] = "the session does not stay"
        else:
            reasons[Escape.REKEY] = "a session that stays has no SSH connection; QUIC changes its keys by itself"
        return reasons

    def _terminate(self, escape: Escape) -> None:
        self._say(escape)
        raise Abandoned("left the session" if self._here else f"connection to {self._peer} closed")

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

    def _connections(self, escape: Escape) -> None:
        self._say(escape)
        for line in self._besides().connection_lines():
            _write(line)

    def _background(self, _escape: Escape) -> None:
        assert self._session is not None and self._terminal is not None and self._foreground is not None
        if self._beside is not None or self._forwarding is not None:
            self._besides().stop_listening()
        if self._filter.may_detach:
            # What its program has set on the terminal is undone first.
            self._leaving = True
            self._session.message({"detach": True, "go_on": True})
            return
        self._terminal.give_back()
        self._release()
        self._session.send(END_OF_INPUT)
        self._session.detach(at_once=True)

    def _release(self) -> None:
        assert self._foreground is not None
        sys.stderr.write(f"{shown_escape(self.character or 0, Escape.BACKGROUND)} [backgrounded]\n")
        sys.stderr.flush()
        self._foreground.release()
        self._foreground = self._terminal = None
        self._leaving = False

    def _open_prompt(self, typed: bytes) -> bytes:
        assert self._session is not None and self._terminal is not None
        beside = self._besides()
        context = beside.context
        context.session, context.here, context.guest, context.handle = (
            self._stays,
            self._here,
            self._guest,
            self._handle,
        )
        self._prompting = True
        try:
            behind = self._session.lend(beside.console(self._terminal), context, typed)
        finally:
            self._prompting = False
        if self._stays is not None:
            self._session.message({"resize": self._terminal.size()})  # has the screen painted anew
        return behind

    def _besides(self) -> Beside:
        if self._beside is None:
            from irosh.faces.cli.prompt.beside import Beside

            self._beside = Beside(
                self._settings, self._peer, self._peer_id, self._user, self._forwarding, through=self._is_plain
            )
        return self._beside

    def _help(self, escape: Escape) -> None:
        assert self.character is not None
        self._say(escape)
        for line in help_lines(self.character, self._unavailable()):
            _write(line)

    def _say(self, escape: Escape, text: str = "") -> None:
        assert self.character is not None
        _write(f"{shown_escape(self.character, escape)} {text}".rstrip())


def begin_foreground(flags: EscapeFlags, terminal: LocalTerminal | None) -> Foreground | None:
    """Fork, so that ``~&`` can leave the terminal; to be called before there is any thread."""
    if terminal is None or flags.character is None:
        return None
    from irosh.faces.cli.foreground import Foreground

    return Foreground.begin()


def _write(line: str) -> None:
    """A line on the terminal, which is in raw mode."""
    sys.stderr.write(f"{line}\r\n")
    sys.stderr.flush()
