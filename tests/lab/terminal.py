"""A person at a terminal, played by tmux: types, looks at the screen, changes the window's size."""

from __future__ import annotations

import os
import re
import shlex
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.lab.machine import Machine
from tests.lab.processes import process_tree, wait_until

SCREEN_DEADLINE = 30.0

_CONFIGURATION = """
set -g remain-on-exit on
set -g status off
set -g default-terminal tmux-256color
set -g escape-time 0
"""

# What the terminal shows once its program has ended; tmux itself sometimes misses the exit status.
_ENDED = re.compile(r"\[ended with (\d+)\]")


class Terminal:
    """One tmux pane in which a program runs."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self._machine = machine
        self._socket = str(directory / "tmux.sock")
        self._configuration = directory / "tmux.conf"
        self._configuration.write_text(_CONFIGURATION)

    @classmethod
    @contextmanager
    def open(
        cls,
        machine: Machine,
        directory: Path,
        *command: str,
        columns: int = 90,
        rows: int = 30,
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Terminal]:
        """Run ``command`` in a new terminal for the length of the block. ``directory`` holds tmux's socket."""
        terminal = cls(machine, directory)
        try:
            size = ("-x", str(columns), "-y", str(rows))
            variables = [f"-e{name}={value}" for name, value in (environment or {}).items()]
            then = f"{shlex.join(command)}; echo '[ended with '$?]"
            terminal._tmux("-f", str(terminal._configuration), "new-session", "-d", *size, *variables, then)
            yield terminal
        except BaseException as error:
            error.add_note(f"--- the screen\n{terminal.screen()}")
            raise
        finally:
            terminal._close()

    def _close(self) -> None:
        """Close the window; the programs in it are hung up, and must end."""
        asked = self._machine.run("tmux", "-S", self._socket, "display-message", "-p", "#{pane_pid}", check=False)
        programs = process_tree(int(asked.stdout)) if asked.returncode == 0 else set()
        self._machine.run("tmux", "-S", self._socket, "kill-server", check=False)
        wait_until(
            lambda: not any(each.alive for each in programs),
            timeout=SCREEN_DEADLINE,
            what="the programs in the closed terminal have ended",
        )

    def type(self, text: str) -> None:
        """Type ``text`` as it is, and Enter."""
        self._tmux("send-keys", "-l", "--", text)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names, such as ``C-c`` or ``Escape``."""
        self._tmux("send-keys", "--", *keys)

    def paste(self, text: str) -> None:
        """Type ``text`` all at once, as it is."""
        self._machine.run("tmux", "-S", self._socket, "load-buffer", "-", stdin=text.encode())
        self._tmux("paste-buffer", "-r")

    @contextmanager
    def recorded(self, file: Path) -> Iterator[Callable[[], bytes]]:
        """All that programs write to the terminal during the block goes to ``file`` too; yields what reads it."""
        file.touch()
        self._tmux("pipe-pane", "-O", f"exec cat >> {shlex.quote(str(file))}")
        try:
            yield file.read_bytes
        finally:
            self._tmux("pipe-pane")

    def screen(self) -> str:
        """What can be seen."""
        return self._machine.run("tmux", "-S", self._socket, "capture-pane", "-p", check=False).stdout.decode()

    def coloured(self) -> str:
        """What can be seen, with the sequences for how it looks."""
        return self._tmux("capture-pane", "-p", "-e")

    def scrollback(self) -> str:
        """What can be seen, and what has scrolled away."""
        return self._tmux("capture-pane", "-p", "-S", "-")

    def title(self) -> str:
        """The title of the window, as the programs in it have set it."""
        return self._tmux("display-message", "-p", "#{pane_title}").strip()

    def wait_for(self, text: str) -> str:
        """The screen, once ``text`` can be seen."""
        wait_until(lambda: text in self.screen(), timeout=SCREEN_DEADLINE, what=f"the screen shows {text!r}")
        return self.screen()

    def children(self, parent: int | None = None) -> list[int]:
        """The ids of the processes that ``parent`` has started, by default the program in the terminal."""
        if parent is None:
            parent = int(self._tmux("display-message", "-p", "#{pane_pid}"))
            (parent,) = self.children(parent)  # behind the shell that says how the program has ended
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]

    def takes_signals(self) -> bool:
        """Whether Ctrl-C and the like are signals for the program in the foreground, not keys that it reads."""
        descriptor = os.open(self._tmux("display-message", "-p", "#{pane_tty}").strip(), os.O_RDONLY | os.O_NOCTTY)
        try:
            return bool(termios.tcgetattr(descriptor)[3] & termios.ISIG)
        finally:
            os.close(descriptor)

    def resize(self, columns: int, rows: int) -> None:
        """Change the window's size."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def wait_exit(self) -> int:
        """The exit status of the program, once it has ended."""
        ended = wait_until(lambda: _ENDED.search(self.screen()), timeout=SCREEN_DEADLINE, what="the program has ended")
        return int(ended[1])

    def _tmux(self, *arguments: str) -> str:
        return self._machine.run("tmux", "-S", self._socket, *arguments).stdout.decode()
