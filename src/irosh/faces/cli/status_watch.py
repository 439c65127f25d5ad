"""``irosh status --watch``: the status again and again, in place on a terminal, while nodes come and go."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from irosh.faces.cli.options import Settings
from irosh.faces.cli.signals import ended_as_interrupted

# Terminal control (ECMA-48, xterm): the alternate screen, no cursor, no wrapping of long lines; and all of it back.
_BEGIN = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_END = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def watch(
    settings: Settings, interval: float, find: Callable[[], dict[str, Any]], text: Callable[[dict[str, Any]], str]
) -> None:
    """Show what ``find`` finds every ``interval`` seconds until interrupted."""
    with suppress(KeyboardInterrupt), ended_as_interrupted():
        if settings.json:
            for _ in _ticks(interval):
                settings.output.event("status", find())
        elif sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
            _in_place(interval, lambda: text(find()))
        else:
            for number, _ in enumerate(_ticks(interval)):
                separator = "\n" if number else ""
                print(f"{separator}{_clock()}\n{text(find())}", flush=True)  # noqa: T201


def _in_place(interval: float, text: Callable[[], str]) -> None:
    with _alternate_screen():
        for _ in _ticks(interval):
            lines = [f"{_clock()}  every {interval:g} s, Ctrl-C ends it", "", *text().splitlines()]
            shown = lines[: max(1, os.get_terminal_size(sys.stdout.fileno()).lines)]
            # One write, over what is there: nothing is ever blank, so nothing flickers.
            frame = "\r\n".join(f"{line}{_END_OF_LINE}" for line in shown)
            sys.stdout.write(f"{_HOME}{frame}{_END_OF_SCREEN}")
            sys.stdout.flush()


@contextmanager
def _alternate_screen() -> Iterator[None]:
    try:
        sys.stdout.write(_BEGIN)
        yield
    finally:
        with suppress(OSError):
            sys.stdout.write(_END)
            sys.stdout.flush()


def _ticks(interval: float) -> Iterator[None]:
    following = time.monotonic()
    while True:
        yield
        following = max(following + interval, time.monotonic() + interval / 10)
        time.sleep(following - time.monotonic())


def _clock() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")
