"""A terminal that takes nothing for a while: nobody waits for it, and nothing is lost or out of order."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from irosh.faces.cli import screen
from irosh.faces.cli.screen import Screen
from irosh.faces.cli.terminal import LocalTerminal

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


def _emptied(full: Screen, emulator: int) -> bytes:
    """What the emulator gets to see, once it reads."""
    taken = bytearray()
    while full.waiting or select.select([emulator], [], [], 0)[0]:
        full.flush()
        taken += os.read(emulator, 65536)
    return bytes(taken)


def test_all_comes_in_order_once_it_is_taken() -> None:
    with terminal_ends() as (emulator, descriptor):
        terminal = LocalTerminal(descriptor)
        stderr = sys.stderr
        with terminal.raw():
            terminal.write(1, DATA)
            print("said meanwhile", end="\r\n", file=sys.stderr, flush=True)
            terminal.write(2, DATA)
            full = terminal.stalled
            assert full is not None
            assert _emptied(full, emulator) == DATA + b"said meanwhile\r\n" + DATA
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
        assert time.monotonic() - begin < 5
        assert termios.tcgetattr(descriptor) == before
        assert _emptied(full, emulator).endswith(b"farewell\r\n")
        full.end()


def test_text_of_our_own_is_kept_within_bounds() -> None:
    with terminal_ends() as (emulator, descriptor):
        full = Screen(descriptor)
        full.begin()
        while full.waiting < screen.MAX_TEXT:
            full.write_text("help\r\n" * 1000)
        kept = full.waiting
        full.write_text("more")
        assert full.waiting == kept
        _emptied(full, emulator)
        full.end()


def test_a_terminal_of_no_kind_is_a_dumb_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "")  # without a name there would be no terminal on the other side
    with terminal_ends() as (_, descriptor):
        assert LocalTerminal(descriptor).request()["terminal"] == "dumb"
