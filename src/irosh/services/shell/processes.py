"""Starting a session's process: on a terminal or on pipes, as a Unix user, in a session of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irosh.core.errors import ErrorCode, IroshError
from irosh.node.accounts import Account, tty_group
from irosh.services.shell.terminal_modes import apply_modes

PIPE_SIZE = 256 * 1024
HANGUP_GRACE = 5.0  # seconds between SIGHUP, SIGTERM and SIGKILL to a process whose peer has gone


@dataclass(frozen=True)
class Terminal:
    """The terminal a peer asked for: type, size in characters and pixels, modes by SSH opcode."""

    kind: str
    size: tuple[int, int, int, int]  # columns, rows, width, height
    modes: Mapping[int, int]


class SessionProcess:
    """A running shell or command. Our ends of its standard streams are non-blocking descriptors.

    On a terminal ``stdin`` and ``stdout`` are the same one and there is no ``stderr``.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        stdin: int,
        stdout: int,
        stderr: int | None,
        *,
        terminal: str | None,
    ) -> None:
        """``terminal``: the path of the program's end of it."""
        self._process = process
        self.stdin: int | None = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._terminal = terminal
        self.on_terminal = terminal is not None

    async def wait(self) -> int:
        """The exit status, or minus the number of the signal that ended it."""
        return await self._process.wait()

    def resize(self, size: tuple[int, int, int, int]) -> None:
        """Tell the terminal, and so the foreground program (SIGWINCH), its new size."""
        if self.on_terminal:
            with contextlib.suppress(OSError):
                set_window_size(self.stdout, size)

    def send_signal(self, number: int) -> None:
        """Signal the whole process group: on a terminal the one in the foreground."""
        group = self._process.pid
        if self.on_terminal:
            with contextlib.suppress(OSError):
                group = os.tcgetpgrp(self.stdout) or group
        with contextlib.suppress(OSError):
            os.killpg(group, number)

    def discard_unread_input(self) -> None:
        """Forget what was typed and no program has read, as a terminal does for a key that interrupts."""
        if self._terminal is not None:
            with contextlib.suppress(OSError, termios.error):
                # From our end only the newest part of it can be discarded: tcflush(3) counts from its own side.
                program_end = os.open(self._terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
                try:
                    termios.tcflush(program_end, termios.TCIFLUSH)
                finally:
                    os.close(program_end)

    def close_stdin(self) -> None:
        """End of input. On a terminal there is none: the peer types it."""
        if self.stdin is not None and not self.on_terminal:
            os.close(self.stdin)
            self.stdin = None

    async def end(self) -> None:
        """The peer has gone: hang up, insist, and close our descriptors. Jobs that ignore SIGHUP (nohup) live on."""
        try:
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
                if self._process.returncode is not None:
                    break
                if number is signal.SIGHUP:
                    self.send_signal(number)
                    with contextlib.suppress(OSError):
                        os.killpg(self._process.pid, number)
                else:
                    with contextlib.suppress(ProcessLookupError):
                        self._process.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HANGUP_GRACE):
                        await self._process.wait()
        finally:
            self._close()

    def _close(self) -> None:
        descriptors = {self.stdin, self.stdout, self.stderr}
        self.stdin = None
        for descriptor in descriptors:
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)


async def start_process(
    account: Account, command: str | None, terminal: Terminal | None, environment: Mapping[str, str]
) -> SessionProcess:
    """Start the account's login shell, or ``command`` by that shell. ``IroshError`` when it cannot be started."""
    shell = account.shell
    name = Path(shell).name
    arguments = [f"-{name}"] if command is None else [name, "-c", command]
    options: dict[str, Any] = {
        "executable": shell,
        "env": {**account.environment(), **environment},
        "cwd": _existing(account.home),
        "start_new_session": True,
    }
    if account.switch:
        options |= {"user": account.uid, "group": account.gid, "extra_groups": list(account.groups)}
    try:
        if terminal is not None:
            return await _start_on_terminal(account, arguments, terminal, options)
        return await _start_on_pipes(arguments, options)
    except OSError as error:
        raise IroshError(
            ErrorCode.TARGET_UNREACHABLE, f"cannot start {shell} as {account.name}: {error.strerror or error}"
        ) from error


async def start_program(arguments: Sequence[str]) -> SessionProcess:
    """Start a program of the host itself on pipes, with the host's rights and an empty environment.

    ``IroshError`` when it cannot be started.
    """
    try:
        return await _start_on_pipes(list(arguments), {"env": {}, "cwd": "/", "start_new_session": True})
    except OSError as error:
        raise IroshError(
            ErrorCode.TARGET_UNREACHABLE, f"cannot start {arguments[0]}: {error.strerror or error}"
        ) from error


def _existing(home: str) -> str:
    return home if Path(home).is_dir() else "/"


async def _start_on_terminal(
    account: Account, arguments: list[str], terminal: Terminal, options: dict[str, Any]
) -> SessionProcess:
    controller, child = os.openpty()
    try:
        if account.switch:
            os.fchown(child, account.uid, tty_group(account))
        os.fchmod(child, 0o620)
        apply_modes(child, terminal.modes)
        set_window_size(child, terminal.size)
        path = os.ttyname(child)
        options["env"] |= {"TERM": terminal.kind or "dumb", "SSH_TTY": path}
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=child,
            stdout=child,
            stderr=child,
            preexec_fn=_take_controlling_terminal,
            **options,
        )
    except BaseException:
        os.close(controller)
        raise
    finally:
        os.close(child)
    os.set_blocking(controller, False)
    return SessionProcess(process, controller, controller, None, terminal=path)


async def _start_on_pipes(arguments: list[str], options: dict[str, Any]) -> SessionProcess:
    ours: list[int] = []
    theirs: list[int] = []
    try:
        for child_reads in (True, False, False):
            read_end, write_end = os.pipe()
            _enlarge(read_end)
            theirs.append(read_end if child_reads else write_end)
            ours.append(write_end if child_reads else read_end)
        for descriptor in ours:
            os.set_blocking(descriptor, False)
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2], **options
        )
    except BaseException:
        for descriptor in ours:
            os.close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return SessionProcess(process, ours[0], ours[1], ours[2], terminal=None)


def _enlarge(pipe: int) -> None:
    """A larger pipe (Linux) takes fewer switches between us and the program for the same bytes."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


def _take_controlling_terminal() -> None:
    """Runs between fork and exec, in the new session: one system call, no lock taken, nothing allocated but it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def set_window_size(descriptor: int, size: tuple[int, int, int, int]) -> None:
    """Set the size of the terminal at ``descriptor``: columns, rows, and width and height in pixels."""
    columns, rows, width, height = (max(0, min(value, 0xFFFF)) for value in size)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))
