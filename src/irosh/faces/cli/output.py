"""How results, events and errors reach a person or a program. No heavy imports: every command begins here."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from irosh.core.errors import IroshError

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Output:
    """Writes JSON lines with ``as_json``, short text otherwise."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def event(self, name: str, fields: Mapping[str, Any], text: str | None = None) -> None:
        """Something that happened in a command that keeps running; as text on stderr, so that stdout stays clean."""
        if self.as_json:
            _line({"event": name, **fields})
        elif text is not None:
            print(text, file=sys.stderr, flush=True)  # noqa: T201

    def result(self, fields: Mapping[str, Any], text: str) -> None:
        """The outcome of a command that ends."""
        if self.as_json:
            _line({"ok": True, **fields})
        else:
            print(text, flush=True)  # noqa: T201


def report_error(error: IroshError, *, as_json: bool) -> None:
    """An error: an object on stdout for programs, a line with a hint on stderr for people."""
    if as_json:
        _line({"ok": False, "error": error.to_dict()})
        return
    hint = f"\n  {style(error.hint, 'dim', sys.stderr)}" if error.hint else ""
    print(f"{style('irosh:', 'red', sys.stderr)} {error.message}{hint}", file=sys.stderr, flush=True)  # noqa: T201


def style(text: str, name: str, stream: Any = None) -> str:
    """``text`` in a colour or weight, if ``stream`` (default stdout) is a terminal that wants it."""
    import os

    stream = stream or sys.stdout
    if not stream.isatty() or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_STYLES[name]}m{text}\x1b[0m"


def _line(fields: Mapping[str, Any]) -> None:
    print(json.dumps(fields, ensure_ascii=False), flush=True)  # noqa: T201
