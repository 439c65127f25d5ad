"""One line from the terminal, with editing, history and completion by prompt_toolkit: imported when ``~C`` is typed."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.application.current import set_app
from prompt_toolkit.application.run_in_terminal import run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.history import History
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle

from irosh.faces.cli.prompt.commands import Candidate
from irosh.faces.cli.prompt.history import HistoryFile
from irosh.faces.cli.terminal import LocalTerminal

log = logging.getLogger(__name__)

PROMPT = "irosh> "
_SHOW_PATIENCE = 0.1  # seconds between looks whether the prompt, which was to make room, has ended
_REFRESH = 1.0  # seconds

Complete = Callable[[str], Iterable[Candidate]]


class _Output(Vt100_Output):
    """Leaves alone the modes that programs of the session may have set: nobody could set them again afterwards."""

    def enable_bracketed_paste(self) -> None:
        pass

    def disable_bracketed_paste(self) -> None:
        pass

    def reset_cursor_key_mode(self) -> None:
        pass


class _Input(Vt100Input):
    """Keeps the modes while other lines are shown: what is typed meanwhile waits as it was typed."""

    def cooked_mode(self) -> AbstractContextManager[None]:
        return nullcontext()


class _Completer(Completer):
    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        for each in self._complete(document.text_before_cursor):
            yield Completion(each.text, -each.replaces, display=each.shown or each.text)


class _History(History):
    """Of this prompt, and before it of those that there were; others that are open now are seen by later ones."""

    def __init__(self, file: HistoryFile) -> None:
        super().__init__()
        self._file = file

    def load_history_strings(self) -> Iterable[str]:
        return reversed(self._file.lines())

    def store_string(self, string: str) -> None:
        self._file.add(string)


class LineEditor:
    """Reads lines in the thread that calls :meth:`read`.

    ``above`` gives lines to show above the prompt, ``beside`` some text at its right end; both are asked again and
    again.
    """

    def __init__(
        self,
        terminal: LocalTerminal,
        screen: TextIO,
        complete: Complete,
        history: HistoryFile,
        *,
        above: Callable[[], list[str]],
        beside: Callable[[], str],
    ) -> None:
        self._screen = screen
        self._above = above
        self._loop: asyncio.AbstractEventLoop | None = None
        self._app: Application[str] | None = None
        self._reading: asyncio.Task[Any] | None = None
        self._leaving = False
        self._lock = threading.Lock()

        def size() -> Size:
            columns, rows, _, _ = terminal.size()
            return Size(rows=rows, columns=columns)

        self._input = _Input(sys.stdin)
        output = _Output(screen, size, term=os.environ.get("TERM"), enable_cpr=False)
        self._session: PromptSession[str] = PromptSession(
            message=self._message,
            rprompt=beside,
            input=self._input,
            output=output,
            history=_History(history),
            completer=_Completer(complete),
            complete_in_thread=True,
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            enable_open_in_editor=False,
            refresh_interval=_REFRESH,
        )

    def feed(self, keys: bytes) -> None:
        """Take keys that were typed already."""
        pressed: list[KeyPress] = []
        parser = Vt100Parser(pressed.append)
        parser.feed(keys.decode(errors="surrogateescape"))
        parser.flush()
        store_typeahead(self._input, pressed)

    def unread(self) -> bytes:
        """Keys that were typed behind the last line."""
        return "".join(key.data for key in get_typeahead(self._input)).encode(errors="surrogateescape")

    def read(self) -> str | None:
        """The next line; None at Ctrl-C, Ctrl-D, when the terminal has gone, or once it was to :meth:`leave`."""
        if self._leaving:
            return None
        try:
            return self._session.prompt(pre_run=self._begun, handle_sigint=False, set_exception_handler=False)
        except (KeyboardInterrupt, EOFError):
            return None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return None
        finally:
            with self._lock:
                self._loop = self._app = None

    def leave(self) -> None:
        """End :meth:`read`, and let it begin no more until :meth:`again`. For any thread."""
        self._leaving = True
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._exit)

    def again(self) -> None:
        """After :meth:`leave`."""
        self._leaving = False

    def make_room(self, show: Callable[[], object]) -> None:
        """Call ``show`` once, with the prompt out of the way if there is one. For other threads; waits for it."""
        with self._lock:
            loop, app = self._loop, self._app
        if loop is None or app is None:
            show()
            return
        shown = threading.Lock()

        def show_once() -> None:
            if shown.acquire(blocking=False):
                show()

        async def show_above() -> None:
            with set_app(app):
                await run_in_terminal(show_once)

        showing = asyncio.run_coroutine_threadsafe(show_above(), loop)
        while True:
            try:
                showing.result(_SHOW_PATIENCE)
                return
            except TimeoutError:
                if not app.is_running:
                    break
            except CancelledError:
                break  # the prompt has just ended
        showing.cancel()
        show_once()

    def _begun(self) -> None:
        from prompt_toolkit.application import get_app

        app: Any = get_app()
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._failed)
        self._reading = asyncio.current_task()
        with self._lock:
            self._app, self._loop = app, loop
            if self._leaving:
                self._loop.call_soon(self._exit)

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # prompt_toolkit's own handler shows it and waits for Enter; when the terminal has gone, that fails as well.
        log.warning("the prompt ends: %s", context.get("message"), exc_info=context.get("exception"))
        self._exit()

    def _exit(self) -> None:
        if self._app is not None and self._app.future is not None and not self._app.future.done():
            self._app.exit(exception=EOFError)
        if self._loop is not None:
            for task in asyncio.all_tasks(self._loop):  # such as a list of completions that asks whether to go on
                if task is not self._reading:
                    task.cancel()

    def _message(self) -> str:
        return "\n".join([*self._above(), PROMPT])
