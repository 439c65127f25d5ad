"""What happens to the link of a session, and who comes and goes, told without disturbing its screen."""

from __future__ import annotations

import signal
import sys
from typing import Any

from irosh.core.errors import IroshError
from irosh.faces.cli.output import Output, style
from irosh.faces.cli.session_flags import begun, others_text, shared_text, wait_for_enter
from irosh.faces.cli.signals import ended_as_interrupted
from irosh.faces.cli.table import printable

# xterm's window title: saved, set and restored (XTWINOPS 22 and 23, OSC 2). It leaves the screen as it is.
_SAVE, _SET, _RESTORE = "\x1b[22;2t", "\x1b]2;{}\x07", "\x1b[23;2t"


class LinkNotices:
    """On a terminal in the title of its window, elsewhere as lines on standard error."""

    def __init__(self, output: Output, on_terminal: bool) -> None:
        self._output = output
        self._on_terminal = on_terminal and not output.as_json
        self._titled = False

    def show(self, message: dict[str, Any]) -> None:
        """Tell of an event of the link or of others at the session; other events are none of ours."""
        fields = {key: value for key, value in message.items() if key != "event"}
        error = IroshError.from_dict(fields["error"]).message if "error" in fields else ""
        match message.get("event"):
            case "lost":
                text = f"connection lost: {error}; dialling again"
            case "retry":
                text = f"still no connection: {error}"
            case "resumed":
                text = f"connected again after {fields['gap']:.0f} s"
            case "session":
                self._output.event("session", fields, begun(fields) + ("\r" if self._on_terminal else ""))
                return
            case "joined" | "left" | "keyboard":
                text = others_text(str(message["event"]), fields)
            case "shared":
                with ended_as_interrupted(signal.SIGINT):  # whoever carries the session only takes a note of them
                    self._output.event("shared", fields, shared_text(fields, raw=self._on_terminal))
                    if self._on_terminal:
                        wait_for_enter()
                return
            case "resized":
                self._output.event("resized", fields)
                return
            case _:
                return
        if not self._on_terminal:
            self._output.event(str(message["event"]), fields, f"irosh: {text}")
        elif message["event"] == "resumed":
            self.clear()
        else:
            self._title(f"irosh: {text}")

    def clear(self) -> None:
        """Give the title back."""
        if self._titled:
            self._titled = False
            _write(_RESTORE)

    def _title(self, text: str) -> None:
        _write(("" if self._titled else _SAVE) + _SET.format(printable(text)))
        self._titled = True


def tell_connected(output: Output, message: dict[str, Any], *, event: bool = True) -> None:
    """Tell of the event ``connected``: a person only when the peer is new, a program if ``event``."""
    text = None
    if message["new"]:
        name = style(str(message["peer"]), "bold", sys.stderr)
        text = f"irosh: {name} is pinned; from now on: irosh connect {message['peer']}"
    if event or not output.as_json:
        output.event("connected", {key: value for key, value in message.items() if key != "event"}, text)


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
