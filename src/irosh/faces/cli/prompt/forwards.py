"""Commands of the prompt about forwards, and all forwards that a session has."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, cast

from irosh.core.errors import ErrorCode, IroshError
from irosh.core.forward_spec import ForwardKind, ForwardSpecError
from irosh.core.prompt_line import PromptLine
from irosh.core.wording import escape
from irosh.faces.cli.amounts import size
from irosh.faces.cli.forwarding import Forwarding, ForwardState
from irosh.faces.cli.options import Settings
from irosh.faces.cli.prompt.commands import Candidate
from irosh.faces.cli.prompt.context import PromptContext

MOST_SHOWN = 200  # connections
_LONGEST = 200


class SessionForwards:
    """The forwards of one session: those of its command line, if there are any, and those of the prompt.

    ``tell`` gets lines about what happens to them from now on. ``through``: the session goes through other machines,
    so forwards can only join those of the command line. Its methods may be called by any thread.
    """

    def __init__(
        self,
        settings: Settings,
        peer_id: str,
        given: Forwarding | None,
        tell: Callable[[str], None],
        *,
        through: bool = False,
    ) -> None:
        self._settings = settings
        self._peer_id = peer_id
        self._tell = tell
        self._forwarding = given
        self._through = through
        if given is not None:
            given.on_event = self._event
        self._made: Forwarding | None = None
        self._lock = threading.Lock()

    def add(self, kind: ForwardKind, spec: str) -> list[str]:
        """Begin one; where it listens. ``IroshError``."""
        return self._any().add(kind, spec)

    def cancel(self, kind: ForwardKind, spec: str) -> None:
        """End one; open connections go on. ``IroshError`` when there is none."""
        self._any().cancel(kind, spec)

    def states(self) -> list[ForwardState]:
        """All there are."""
        return [] if self._forwarding is None else self._forwarding.list()

    def stop_listening(self) -> None:
        """Cancel all; open connections go on."""
        for state in self.states():
            if not state.cancelled:
                self.cancel(state.kind, state.spec)

    def wait_idle(self) -> None:
        """Return once no connection is open."""
        if self._forwarding is not None:
            self._forwarding.wait_idle()

    def close(self) -> None:
        """End those of the prompt, with their connections."""
        if self._made is not None:
            self._made.close()

    def _any(self) -> Forwarding:
        with self._lock:
            if self._forwarding is None and self._through:
                raise IroshError(
                    ErrorCode.USAGE,
                    "the session goes through other machines, and has no forwards that another could join",
                    "begin it with -L, -R or -D",
                )
            if self._forwarding is None:
                self._forwarding = self._made = Forwarding(self._settings, self._peer_id, on_event=self._event)
            return self._forwarding

    def _event(self, message: dict[str, Any]) -> None:
        match message.get("event"):
            case "refused":
                client = f"{message['client']} → " if message.get("client") else ""
                about = f"-{message['kind']} {message['spec']}: {client}{message['source']}"
            case "ended":
                about = "nothing is forwarded any more"
            case _:
                return
        error = IroshError.from_dict(message["error"])
        self._tell(escape(f"{about}: {error.message}", 2 * _LONGEST))


def add(context: PromptContext, line: PromptLine) -> None:
    """``-L``, ``-R``, ``-D``."""
    kind = cast(ForwardKind, line.command[-1])
    try:
        listens = context.forwards.add(kind, line.rest)
    except ForwardSpecError as error:
        raise pointed(error, line) from None
    where = "there" if kind == "R" else "here"
    context.say(f"Forwarding: listens {where} on {', '.join(escape(each, _LONGEST) for each in listens)}.")


def cancel(context: PromptContext, line: PromptLine) -> None:
    """``-KL``, ``-KR``, ``-KD``."""
    kind = cast(ForwardKind, line.command[-1])
    try:
        context.forwards.cancel(kind, line.rest)
    except ForwardSpecError as error:
        raise pointed(error, line) from None
    context.say("Canceled forwarding.")


def complete_cancel(context: PromptContext, line: PromptLine, text: str) -> Iterable[Candidate]:
    """The forwards there are of that kind."""
    states = [state for state in context.forwards.states() if not state.cancelled and state.kind == line.command[-1]]
    specs = [state.spec for state in states]
    return [Candidate(spec, len(text), spec) for spec in specs if spec.startswith(text) and spec.isprintable()]


def pointed(error: ForwardSpecError, line: PromptLine) -> IroshError:
    """``error`` with a caret below the character of the typed line that it is about."""
    typed = f"{line.command}{error.text}"
    before = escape(typed[: len(line.command) + error.column], 4 * _LONGEST)
    caret = f"{escape(typed, 4 * _LONGEST)}\n  {' ' * len(before)}^"
    return IroshError(error.code, error.message, f"{caret}\n  {error.hint}" if error.hint else caret)


def forward_lines(states: list[ForwardState]) -> list[str]:
    """Each forward with its open connections, for people."""
    lines = []
    left = MOST_SHOWN
    for state in states:
        where = "cancelled" if state.cancelled else f"on {', '.join(state.listens)}"
        amounts = f"{size(state.sent)} out, {size(state.received)} in"
        lines.append(escape(f"-{state.kind} {state.spec}", _LONGEST) + escape(f"  {where}", _LONGEST))
        lines[-1] += f"  {state.open} open, {amounts}"
        shown = state.connections[:left]
        left -= len(shown)
        lines += [
            "    "
            + escape(f"{each.peer} → {each.target}", _LONGEST)
            + f"  {size(each.sent)} out, {size(each.received)} in"
            for each in shown
        ]
        if state.open > len(shown):
            lines.append(f"    and {state.open - len(shown)} more")
    return lines
