"""``irosh demo``: relays, hosts and a client at work on this machine, step by step."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from irosh.core.errors import IroshError
from irosh.faces.cli.options import Settings, common_options
from irosh.faces.cli.output import Output, style
from irosh.faces.cli.signals import ending_signals
from irosh.faces.cli.table import printable

if TYPE_CHECKING:
    from irosh.faces.cli.demo_steps import Seen

_NAME_WIDTH = 9
_TIME_WIDTH = 8
_WIDEST = 92
_GOOD, _BAD, _PLAIN_GOOD, _PLAIN_BAD = "✓", "✗", "+", "x"


@click.command()
@common_options
def demo(settings: Settings) -> None:
    """See it all work on this machine, in under a minute.

    Starts relays, hosts and a client as separate processes with temporary state directories, on loopback only, and lets
    them do what irosh is for. Nothing is left behind.
    """
    try:
        asyncio.run(_play(_Show(settings.output)))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _play(show: _Show) -> None:
    from irosh.faces.cli.demo_stage import DemoError, stage
    from irosh.faces.cli.demo_steps import STEPS, demo_on

    _cancelled_by_signals()
    begun = time.monotonic()
    show.begin()
    with show:
        async with stage() as made, demo_on(made) as demo_:
            for name, step in STEPS:
                show.step(name)
                started = time.monotonic()
                try:
                    seen = await step(demo_)
                except DemoError as error:
                    show.failed(name, time.monotonic() - started, error, error.said)
                    raise IroshError(error.code, f"the step {name!r} failed: {error.message}", error.hint) from None
                show.passed(name, time.monotonic() - started, seen)
            show.step("clean up")
    show.end(time.monotonic() - begun)


def _cancelled_by_signals() -> None:
    """Ctrl-C, SIGTERM and a closed terminal all end the demo by way of its clean-up; repeating them changes nothing."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    signals = [signal.SIGINT, *ending_signals()]

    def interrupt() -> None:
        for number in signals:
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in signals:
        loop.add_signal_handler(number, interrupt)


class _Show:
    """What the watcher sees: one line for each step; on a terminal also the step that is under way."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._live = sys.stdout.isatty() and not output.as_json
        self._width = min(_WIDEST, max(50, shutil.get_terminal_size().columns - 1))
        self._good, self._bad = (_GOOD, _BAD) if _can_show(_GOOD + _BAD + "…·") else (_PLAIN_GOOD, _PLAIN_BAD)

    def begin(self) -> None:
        """The first line."""
        self._print(f"{style('irosh demo', 'bold')}: relays, hosts and a client on this machine, by loopback only\n")

    def __enter__(self) -> _Show:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def step(self, name: str) -> None:
        """A step begins."""
        if self._live:
            sys.stdout.write(f"\r\x1b[K  {style(f'· {name}', 'dim')}")
            sys.stdout.flush()

    def passed(self, name: str, seconds: float, seen: Seen) -> None:
        """A step has gone well."""
        self._event(name, True, seconds, {"text": seen.text, **seen.fields})
        self._line(style(self._good, "green"), name, seen.text, seconds)

    def failed(self, name: str, seconds: float, error: IroshError, said: Sequence[str]) -> None:
        """A step has failed; what its process ``said`` on standard error may tell why."""
        self._event(name, False, seconds, {"error": error.to_dict(), "stderr": list(said)})
        self._line(style(self._bad, "red"), name, error.message, seconds)
        for line in said:
            self._print(f"      {style(printable(line), 'dim')}")

    def end(self, seconds: float) -> None:
        """All has gone well, and everything is cleaned up."""
        if self._output.as_json:
            self._output.event("done", {"seconds": round(seconds, 3)})
        self._print(f"\n  All good in {seconds:.1f} s, and nothing is left behind. Now with two machines:\n")
        self._print(f"    {style('irosh host', 'green')}                on the one: it prints a ticket")
        self._print(f"    {style('irosh connect TICKET', 'green')}      on the other\n")

    def _event(self, name: str, passed: bool, seconds: float, fields: dict[str, object]) -> None:
        if self._output.as_json:
            self._output.event("step", {"step": name, "passed": passed, "seconds": round(seconds, 3), **fields})

    def _line(self, mark: str, name: str, text: str, seconds: float) -> None:
        self._clear()
        room = self._width - _NAME_WIDTH - _TIME_WIDTH - 6
        shown = printable(text)
        shown = shown if len(shown) <= room else shown[: room - 1] + "…"
        elapsed = style(f"{seconds:.2f} s".rjust(_TIME_WIDTH), "dim")
        self._print(f"  {mark} {style(name.ljust(_NAME_WIDTH), 'bold')} {shown.ljust(room)} {elapsed}")

    def _clear(self) -> None:
        if self._live:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()

    def _print(self, text: str) -> None:
        if not self._output.as_json:
            encoding = sys.stdout.encoding or "ascii"
            with contextlib.suppress(LookupError):
                text = text.encode(encoding, "replace").decode(encoding)
            click.echo(text)


def _can_show(characters: str) -> bool:
    try:
        characters.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
