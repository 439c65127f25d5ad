"""A terminal that takes nothing for a while: nobody waits for it, and nothing is lost or out of order."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from irosh.core.escapes import DEFAULT_ESCAPE
from irosh.faces.cli import screen
from irosh.faces.cli.escape_flags import EscapeFlags
from irosh.faces.cli.options import Settings
from irosh.faces.cli.prompt.console import Console
from irosh.faces.cli.prompt.context import PromptContext
from irosh.faces.cli.screen import Screen
from irosh.faces.cli.session_escapes import SessionEscapes
from irosh.faces.cli.terminal import LocalTerminal
from tests.lab.servers import TIMEOUT

DATA = b"".join(b"line %d\r\n" % number for number in range(30_000))


@contextmanager
def terminal_ends() -> Iterator[tuple[int, int]]:
    """The end of a terminal emulator that reads when a test does, and that of programs, also as standard output."""
    emulator, terminal = os.openpty()
    before = [os.dup(each) for each in (1, 2)]
    for each in (1, 2):
        os.dup2(terminal, each)
    try:
        yield emulator, terminal
    finally:
        for each, copy in zip((1, 2), before, strict=True):
            os.dup2(copy, each)
            os.close(copy)
        os.close(terminal)
        os.close(emulator)


def _seen(full: Screen, emulator: int, end: bytes) -> bytes:
    """What the emulator gets to see, once it reads, up to ``end``."""
    taken = bytearray()
    while full.waiting or not taken.endswith(end):
        full.flush()
        assert select.select([emulator], [], [], TIMEOUT)[0], taken[-200:]
        taken += os.read(emulator, 65536)
    return bytes(taken)


def test_all_comes_in_order_once_it_is_taken() -> None:
    with terminal_ends() as (emulator, descriptor):
        terminal = LocalTerminal(descriptor)
        stderr = sys.stderr
        with terminal.raw():
            terminal.write(1, DATA)
            print("said meanwhile", end="\r\n", file=sys.stderr, flush=True)
            terminal.write(2, DATA + b"the end")
            full = terminal.stalled
            assert full is not None
            assert _seen(full, emulator, b"the end") == DATA + b"said meanwhile\r\n" + DATA + b"the end"
        assert sys.stderr is stderr


def test_whoever_leaves_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PATIENCE", 0.02)
    with terminal_ends() as (emulator, descriptor):
        before = termios.tcgetattr(descriptor)
        terminal = LocalTerminal(descriptor)
        begin = time.monotonic()
        with terminal.raw():
            terminal.write(1, DATA)
            full = terminal.stalled
            assert full is not None
        print("farewell", file=sys.stderr, flush=True)
        assert time.monotonic() - begin < TIMEOUT
        assert termios.tcgetattr(descriptor) == before
        _seen(full, emulator, b"farewell\r\n")
        full.end()


class Typed:
    """Whoever carries a session: remembers what is sent there, and has no prompt."""

    def __init__(self) -> None:
        self.keys = b""

    def send(self, keys: bytes) -> None:
        self.keys += keys

    def message(self, fields: dict[str, Any]) -> None:
        raise AssertionError(fields)

    def lend(self, console: Console, context: PromptContext, typed: bytes) -> bytes:
        raise AssertionError("the prompt was opened")

    def detach(self, *, at_once: bool) -> None:
        raise AssertionError("it went to the background")


def test_escapes_that_need_the_screen_wait_for_another_time(tmp_path: Path) -> None:
    with terminal_ends() as (emulator, descriptor):
        terminal, session = LocalTerminal(descriptor), Typed()
        flags = EscapeFlags(DEFAULT_ESCAPE, command_line=True)
        with terminal.raw(), SessionEscapes(Settings(state=tmp_path), flags, terminal) as escapes:
            escapes.begin(session, {"peer": "box", "id": "0" * 64, "node": 0})
            terminal.write(1, DATA)
            full = terminal.stalled
            assert full is not None
            escapes.typed(b"\r~C\r~&\rls")
            assert session.keys == b"\r\r\rls"
            print("the end", file=sys.stderr, flush=True)
            shown = _seen(full, emulator, b"the end\n").removeprefix(DATA)
        assert shown.count(b"[not available: the terminal takes no output]") == 2


def test_text_of_our_own_is_kept_within_bounds() -> None:
    with terminal_ends() as (emulator, descriptor):
        full = Screen(descriptor)
        full.begin()
        while full.waiting < screen.MAX_TEXT:
            full.write_text("help\r\n" * 1000)
        kept = full.waiting
        full.write_text("more")
        assert full.waiting == kept
        _seen(full, emulator, b"\r\n")
        full.end()


def test_a_terminal_of_no_kind_is_a_dumb_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "")  # without a name there would be no terminal on the other side
    with terminal_ends() as (_, descriptor):
        assert LocalTerminal(descriptor).request()["terminal"] == "dumb"
