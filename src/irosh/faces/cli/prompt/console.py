"""The prompt of ``~C``: reads lines and runs commands in a thread, while another carries the session."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from irosh.core.errors import IroshError
from irosh.core.prompt_line import PromptLine, parse_prompt_line
from irosh.core.state import StateDirectory
from irosh.faces.cli.prompt.commands import Candidate, complete, run_command
from irosh.faces.cli.prompt.context import PromptContext
from irosh.faces.cli.prompt.load import HostLoad
from irosh.faces.cli.terminal import LocalTerminal

if TYPE_CHECKING:
    from irosh.faces.cli.prompt.editor import LineEditor

MIN_TYPED = 32  # columns that are left for typing beside how busy the host is
MAX_LINES = 200  # kept until somebody looks


class Console:
    """One for each session: it keeps what there is to tell, from one ``~C`` to the next."""

    def __init__(self, terminal: LocalTerminal, load: HostLoad) -> None:
        self._terminal = terminal
        self._load = load
        self._context: PromptContext | None = None
        self._editor: LineEditor | None = None
        self._screen: TextIO | None = None
        self._untold: deque[str] = deque(maxlen=MAX_LINES)
        self._thread: threading.Thread | None = None
        self._ended, self._end = socket.socketpair()
        self._interrupted = threading.Event()
        self._leaving = False
        self._behind = b""
        self._error: BaseException | None = None

    def begin(self, context: PromptContext, typed: bytes) -> socket.socket:
        """Show the prompt, with ``typed`` on it; the socket has something to read once the user leaves it.

        The terminal must be :meth:`lent <irosh.faces.cli.terminal.LocalTerminal.lent>`.
        """
        self._context = context
        self._leaving = False
        self._behind, self._error = b"", None
        self._thread = threading.Thread(target=self._run, args=(typed,), name="prompt", daemon=True)
        self._thread.start()
        return self._ended

    def leave(self) -> bytes:
        """Wait until the prompt has gone, or make it go; returns what was typed behind its last line."""
        assert self._thread is not None
        self._leaving = True
        self._interrupted.set()
        if self._editor is not None:
            self._editor.leave()
        self._thread.join()
        self._thread = None
        self._ended.recv(1)
        if self._error is not None:
            raise self._error
        return self._behind

    def interrupt(self) -> None:
        """Ctrl-C while a command runs: do not wait for it any longer."""
        self._interrupted.set()

    def make_room(self, show: Callable[[], bool]) -> None:
        """Have ``show`` write to the screen, the prompt being out of the way; it tells whether that was whole lines."""

        def show_lines() -> None:
            if not show():
                self._print("")

        self._above(show_lines)

    def say(self, text: str) -> None:
        """Lines for the user: above the prompt, or once it is there."""
        if self._thread is None:
            self._untold.append(text)
        else:
            self._above(lambda: self._print(text))

    @property
    def is_open(self) -> bool:
        """Whether it has the screen."""
        return self._thread is not None

    def untold(self) -> list[str]:
        """What there was to say since the prompt was last open."""
        lines = list(self._untold)
        self._untold.clear()
        return lines

    def close(self) -> None:
        """At the end of the session."""
        self._ended.close()
        self._end.close()
        if self._screen is not None:
            with suppress(OSError):  # the terminal has gone
                self._screen.close()

    # -- in the thread of the prompt

    def _run(self, typed: bytes) -> None:
        try:
            self._load.begin()
            editor = self._opened()
            editor.feed(typed)
            self._print("")
            for told in self.untold():
                self._print(told)
            while (text := self._read(editor)) is not None:
                line = parse_prompt_line(text)
                if not line.command:
                    break
                self._execute(line)
            self._behind = editor.unread()
        except BaseException as error:  # noqa: BLE001 - raised again by `leave`
            self._error = error
        finally:
            self._load.end()
            self._end.send(b".")

    def _read(self, editor: LineEditor) -> str | None:
        # Not once the line has been read: from then on Ctrl-C is for its command.
        self._interrupted.clear()
        return editor.read()

    def _opened(self) -> LineEditor:
        from irosh.faces.cli.prompt.editor import LineEditor
        from irosh.faces.cli.prompt.history import HistoryFile

        if self._screen is None:
            self._screen = Path(os.ttyname(self._terminal.descriptor)).open("w")  # noqa: SIM115 - until `close`
        if self._editor is None:
            assert self._context is not None
            history = HistoryFile(StateDirectory(self._context.settings.state_path).prompt_history_path)
            self._editor = LineEditor(
                self._terminal, self._screen, self._complete, history, above=self._progress, beside=self._busy
            )
        self._editor.again()
        if self._leaving:
            self._editor.leave()
        return self._editor

    def _execute(self, line: PromptLine) -> None:
        """Run a command in a thread, so that Ctrl-C can leave it to itself when the network makes it wait."""
        done = threading.Thread(target=self._run_command, args=(line,), name=f"prompt {line.command}", daemon=True)
        done.start()
        while done.is_alive() and not self._leaving and not self._interrupted.wait(0.02):
            pass
        if done.is_alive():
            self._print("\nIt goes on in the background; its outcome will be shown.")

    def _run_command(self, line: PromptLine) -> None:
        assert self._context is not None
        try:
            run_command(self._context, line)
        except IroshError as error:
            self.say(f"{error.message}\n  {error.hint}" if error.hint else error.message)
        except OSError as error:
            self.say(f"{line.command}: {error.strerror or error}")

    def _complete(self, before: str) -> list[Candidate]:
        assert self._context is not None
        try:
            return list(complete(self._context, parse_prompt_line(before), before))
        except (IroshError, OSError):
            return []  # what cannot be found out now is not offered

    def _progress(self) -> list[str]:
        assert self._context is not None
        return self._context.transfers.lines()

    def _busy(self) -> str:
        columns = self._terminal.size()[0]
        return self._load.text(columns - MIN_TYPED)

    def _above(self, show: Callable[[], None]) -> None:
        if self._editor is not None:
            self._editor.make_room(show)
        else:
            show()

    def _print(self, text: str) -> None:
        assert self._screen is not None
        self._screen.write(f"{text}\n")
        self._screen.flush()
